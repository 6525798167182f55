// Products of quantized weights with quantized activations.
//
// One lane is one output row, so the sum of a block is exact in int32 and the float sum goes over the blocks in
// ascending order, for one token as for a thousand: matrix-vector and matrix-matrix have the same bits.
//   y = fma(float(S), d_w * d_x, y)         every format
//   y = fma(m_w, d_x * sum(x), y)           formats with a min
// Two ways to the same numbers. Up to kDirectTokens tokens read the packed weights once and widen them in registers:
// memory bandwidth is the limit. More tokens share a panel (a group of 16 rows as bytes and float scales, in L1 or L2),
// unpacked once, and go past it kMatmulTile at a time: integer throughput is the limit.
#pragma once

namespace pyruntime {
namespace {

inline int64_t blocks_of(int64_t cols) { return cols / kBlock; }

// Sources of a group's weights: the operands of steps 2j and 2j + 1 of block b, its scales, its mins.
struct Q4Source {
    const uint8_t* q;
    const uint16_t* d;
    const uint16_t* m;
    void pair(int64_t b, int j, w8& even, w8& odd) const {
        const w8 v = load_w8(q + 256 * b + 64 * j);
        even = low_nibbles(v);
        odd = high_nibbles(v);
    }
    f32x16 scale(int64_t b) const { return load_f16(d + 16 * b); }
    f32x16 min(int64_t b) const { return load_f16(m + 16 * b); }
};

struct Q8Source {
    const uint8_t* q;
    const uint16_t* d;
    void pair(int64_t b, int j, w8& even, w8& odd) const {
        even = load_w8(q + 512 * b + 128 * j);
        odd = load_w8(q + 512 * b + 128 * j + 64);
    }
    f32x16 scale(int64_t b) const { return load_f16(d + 16 * b); }
    f32x16 min(int64_t) const { return set1(0); }
};

struct PanelSource {
    const uint8_t* q;
    const float* d;
    const float* m;
    void pair(int64_t b, int j, w8& even, w8& odd) const {
        even = load_w8(q + 512 * b + 128 * j);
        odd = load_w8(q + 512 * b + 128 * j + 64);
    }
    f32x16 scale(int64_t b) const { return load(d + 16 * b); }
    f32x16 min(int64_t b) const { return load(m + 16 * b); }
};

// A format is its packed source, its integer product, and whether it has a min.
struct Q4_0 {
    using Dot = NibbleDot<8>;
    using Packed = Q4Source;
    static constexpr bool kHasMin = false;
    static Packed packed(const uint8_t* group, int64_t blocks) {
        return {group, (const uint16_t*)(group + 256 * blocks), nullptr};
    }
};
struct Q4_1 {
    using Dot = NibbleDot<0>;
    using Packed = Q4Source;
    static constexpr bool kHasMin = true;
    static Packed packed(const uint8_t* group, int64_t blocks) {
        const auto* d = (const uint16_t*)(group + 256 * blocks);
        return {group, d, d + 16 * blocks};
    }
};
struct Q8_0 {
    using Dot = ByteDot;
    using Packed = Q8Source;
    static constexpr bool kHasMin = false;
    static Packed packed(const uint8_t* group, int64_t blocks) {
        return {group, (const uint16_t*)(group + 512 * blocks)};
    }
};

// T tokens from `token` on, 16 rows: the whole of the product.
template <class Format, int T, class Source>
inline void tile(const Source& w, int64_t blocks, const QuantizedRows& x, int64_t token, f32x16* y) {
    using Dot = typename Format::Dot;
    const int8_t* q = x.q + token * blocks * kBlock;
    const int64_t first = token * blocks;
    f32x16 acc[T];
    for (int t = 0; t < T; t++) acc[t] = set1(0);
    for (int64_t b = 0; b < blocks; b++) {
        typename Dot::Acc s[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) s[t] = Dot::begin(x.sum[first + t * blocks + b]);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            w8 even, odd;
            w.pair(b, j, even, odd);
            const auto even_operand = Dot::prepare(even);
            const int8_t* xb = q + kBlock * b + 8 * j;
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) s[t] = Dot::step(s[t], even_operand, xb + t * blocks * kBlock);
            const auto odd_operand = Dot::prepare(odd);
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) s[t] = Dot::step(s[t], odd_operand, xb + t * blocks * kBlock + 4);
        }
        const f32x16 d = w.scale(b);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) {
            const int64_t at = first + t * blocks + b;
            acc[t] = fma(to_float(Dot::end(s[t], x.sum[at])), mul(d, set1(x.d[at])), acc[t]);
        }
        if constexpr (Format::kHasMin) {
            const f32x16 m = w.min(b);
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) acc[t] = fma(m, set1(x.e[first + t * blocks + b]), acc[t]);
        }
    }
    for (int t = 0; t < T; t++) y[t] = acc[t];
}

template <class Format>
inline PanelSource unpack(const typename Format::Packed& w, int64_t blocks, uint8_t* scratch) {
    float* d = (float*)(scratch + 512 * blocks);
    float* m = d + 16 * blocks;
    for (int64_t b = 0; b < blocks; b++) {
        for (int j = 0; j < 4; j++) {
            w8 even, odd;
            w.pair(b, j, even, odd);
            store_w8(scratch + 512 * b + 128 * j, even);
            store_w8(scratch + 512 * b + 128 * j + 64, odd);
        }
        store(d + 16 * b, w.scale(b));
        if constexpr (Format::kHasMin) store(m + 16 * b, w.min(b));
    }
    return {scratch, d, m};
}

// The last tokens of a batch, fewer than a tile.
template <class Format, int T, class Source>
inline void tail(int n, const Source& w, int64_t blocks, const QuantizedRows& x, int64_t token, f32x16* y) {
    if (n == T)
        tile<Format, T>(w, blocks, x, token, y);
    else if constexpr (T > 1)
        tail<Format, T - 1>(n, w, blocks, x, token, y);
}

// All tokens of one group; sink(token, rows) takes each finished vector of 16 rows.
template <class Format, class Sink>
inline void group_product(const uint8_t* group, const MatmulArgs& a, const Sink& sink) {
    const int64_t blocks = blocks_of(a.w.cols);
    const auto packed = Format::packed(group, blocks);
    f32x16 y[kMatmulTile > kDirectTokens ? kMatmulTile : kDirectTokens];
    if (a.n_tokens <= kDirectTokens) {
        tail<Format, kDirectTokens>(int(a.n_tokens), packed, blocks, a.xq, 0, y);
        for (int t = 0; t < a.n_tokens; t++) sink(t, y[t]);
        return;
    }
    const PanelSource panel = unpack<Format>(packed, blocks, a.scratch);
    int64_t token = 0;
    for (; token + kMatmulTile <= a.n_tokens; token += kMatmulTile) {
        tile<Format, kMatmulTile>(panel, blocks, a.xq, token, y);
        for (int t = 0; t < kMatmulTile; t++) sink(token + t, y[t]);
    }
    if (const int rest = int(a.n_tokens - token)) {
        tail<Format, kMatmulTile - 1>(rest, panel, blocks, a.xq, token, y);
        for (int t = 0; t < rest; t++) sink(token + t, y[t]);
    }
}

}  // namespace
}  // namespace pyruntime
