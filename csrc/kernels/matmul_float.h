// Products of F32, F16 and BF16 weights with float32 activations: y = fma(w[k], x[k], y), k ascending, one lane a row.
// Weights are widened exactly; the bf16 and fp16 dot instructions round differently from machine to machine and are not
// used. A group is [cols][16]: each load gives one column of 16 rows. The tokens of a tile are independent chains.
#pragma once

namespace pyruntime {
namespace {

struct F32 {
    static f32x16 column(const uint8_t* group, int64_t k) { return load((const float*)group + 16 * k); }
};
struct F16 {
    static f32x16 column(const uint8_t* group, int64_t k) { return load_f16((const uint16_t*)group + 16 * k); }
};
struct BF16 {
    static f32x16 column(const uint8_t* group, int64_t k) { return load_bf16((const uint16_t*)group + 16 * k); }
};

template <class Format, int T>
inline void float_tile(const uint8_t* group, int64_t cols, const float* x, f32x16* y) {
    f32x16 acc[T];
    for (int t = 0; t < T; t++) acc[t] = set1(0);
    for (int64_t k = 0; k < cols; k++) {
        const f32x16 w = Format::column(group, k);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) acc[t] = fma(w, set1(x[t * cols + k]), acc[t]);
    }
    for (int t = 0; t < T; t++) y[t] = acc[t];
}

template <class Format, int T>
inline void float_tail(int n, const uint8_t* group, int64_t cols, const float* x, f32x16* y) {
    if (n == T)
        float_tile<Format, T>(group, cols, x, y);
    else if constexpr (T > 1)
        float_tail<Format, T - 1>(n, group, cols, x, y);
}

// n groups that follow each other (matmul_quantized.h), one after the other.
template <class Format, class Sink>
inline void float_product(const uint8_t* groups, int n, const MatmulArgs& a, const Sink& sink) {
    const int64_t cols = a.w.cols;
    constexpr int T = kFloatTile;
    f32x16 y[T];
    for (int i = 0; i < n; i++)
        for (int64_t token = 0; token < a.n_tokens; token += T) {
            const int64_t left = a.n_tokens - token;
            const int tokens = left < T ? int(left) : T;
            float_tail<Format, T>(tokens, groups + size_t(i) * a.w.group_bytes, cols, a.x + token * cols, y);
            for (int t = 0; t < tokens; t++) sink.take(i, token + t, y[t]);
        }
}

}  // namespace
}  // namespace pyruntime
