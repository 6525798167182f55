// Kernels over one row or one token: norms, add, scale, rope, the finiteness of logits.
#pragma once

namespace pyruntime {
namespace {

// The factor 1 / sqrt(mean(x^2) + eps) of the squares that the lanes have summed up.
inline float inverse_root(f32x16 squares, int64_t n, float eps) {
    return 1.0f / sqrt_scalar(sum16(squares) / float(n) + eps);
}

inline void rms_norm(const float* x, const float* w, float eps, int64_t n, float* y) {
    const int64_t whole = n / kLanes * kLanes;
    const int rest = int(n - whole);
    f32x16 squares = set1(0);
    for (int64_t i = 0; i < whole; i += kLanes) squares = fma(load(x + i), load(x + i), squares);
    if (rest) squares = fma(load_partial(x + whole, rest), load_partial(x + whole, rest), squares);
    const f32x16 r = set1(inverse_root(squares, n, eps));
    if (!w) {
        for (int64_t i = 0; i < whole; i += kLanes) store(y + i, mul(load(x + i), r));
        if (rest) store_partial(y + whole, mul(load_partial(x + whole, rest), r), rest);
        return;
    }
    for (int64_t i = 0; i < whole; i += kLanes) store(y + i, mul(mul(load(x + i), r), load(w + i)));
    if (rest) store_partial(y + whole, mul(mul(load_partial(x + whole, rest), r), load_partial(w + whole, rest)), rest);
}

inline void layer_norm(const float* x, const float* w, const float* b, float eps, int64_t n, float* y) {
    const auto each = [=](const auto& f) {  // f(first element, elements)
        for (int64_t i = 0; i < n; i += kLanes) f(i, n - i < kLanes ? int(n - i) : kLanes);
    };
    f32x16 sum = set1(0), squares = set1(0);
    each([&](int64_t i, int left) { sum = add(sum, load_partial(x + i, left)); });
    const f32x16 mean = set1(sum16(sum) / float(n));
    each([&](int64_t i, int left) {
        const f32x16 c = select(lanes_between(0, left), sub(load_partial(x + i, left), mean), set1(0));
        squares = fma(c, c, squares);
    });
    const f32x16 r = set1(inverse_root(squares, n, eps));
    each([&](int64_t i, int left) {
        f32x16 v = mul(sub(load_partial(x + i, left), mean), r);
        if (w) v = mul(v, load_partial(w + i, left));
        if (b) v = add(v, load_partial(b + i, left));
        store_partial(y + i, v, left);
    });
}

inline void add_row(const float* a, const float* b, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        store_partial(y + i, add(load_partial(a + i, left), load_partial(b + i, left)), left);
    }
}

inline void add_scaled_row(float factor, const float* x, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        store_partial(y + i, fma(set1(factor), load_partial(x + i, left), load_partial(y + i, left)), left);
    }
}

inline void scale_row(const float* x, float factor, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        store_partial(y + i, mul(load_partial(x + i, left), set1(factor)), left);
    }
}

inline void rope(const RopeArgs& a) {
    const int half = a.n_rot / 2;
    const float *c = a.cos_sin, *s = a.cos_sin + half;
    for (int h = 0; h < a.n_heads; h++) {
        float* x = a.x + int64_t(h) * a.head_dim;
        for (int i = 0; i < half; i++) {
            float& first = a.neox ? x[i] : x[2 * i];
            float& second = a.neox ? x[i + half] : x[2 * i + 1];
            const float p = first, q = second;
            first = __builtin_fmaf(p, c[i], -(q * s[i]));
            second = __builtin_fmaf(p, s[i], q * c[i]);
        }
    }
}

inline bool all_finite(const float* x, int64_t n) {
    i32x16 largest = set1_i32(0);
    const i32x16 magnitude = set1_i32(0x7fffffff);
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        largest = max(largest, bit_and(bits(load_partial(x + i, left)), magnitude));
    }
    return max16(largest) < 0x7f800000;
}

}  // namespace
}  // namespace pyruntime
