// Products of quantized weights with quantized activations.
//
// One lane is one output row, so the sum of a block is exact in int32 and the float sum goes over the blocks in
// ascending order, for one token as for a thousand: matrix-vector and matrix-matrix have the same bits.
//   y = fma(float(S), d_w * d_x, y)         every format
//   y = fma(m_w, d_x * sum(x), y)           formats with a min; in parts: y = fma(float(M), m_w * d_x, y)
// where S is the sum of the block, or, of formats whose blocks are in two parts of 16 columns, that of the parts' sums
// times their integer scales; M likewise is that of the activations times integer mins.
// Two ways to the same numbers. Up to kDirectTokens tokens read the packed weights once and widen them in registers:
// memory bandwidth is the limit. More tokens share a panel (a group of 16 rows as bytes and float scales, in L1 or L2),
// unpacked once, and go past it kMatmulTile at a time: integer throughput is the limit.
#pragma once

namespace pyruntime {
namespace {

inline int64_t blocks_of(int64_t cols) { return cols / kBlock; }

// The scales of a panel. Those of parts stay where they are packed: they are bytes as it is.
struct FloatScales {
    static constexpr bool kInParts = false;
    const float *d, *m;
    f32x16 scale(int64_t b) const { return load(d + 16 * b); }
    f32x16 min(int64_t b) const { return load(m + 16 * b); }
};
template <class Scales>
struct FloatScalesInParts : FloatScales {
    static constexpr bool kInParts = true;
    Scales packed;
    i32x16 part_scale(int64_t b, int part) const { return packed.part_scale(b, part); }
    i32x16 part_min(int64_t b, int part) const { return packed.part_min(b, part); }
};
template <class Scales>
struct Panel : Planes<8>, Scales {
    static constexpr bool kAhead = false;
};

// The rows of activations that a tile multiplies: T of them, from `token` on.
template <int T>
struct Tokens {
    const QuantizedRows& x;
    int64_t token, blocks;
    int64_t at(int t, int64_t b) const { return (token + t) * blocks + b; }
};

// Adds steps kFirst .. kFirst + n - 1 of block b to the sums of all tokens.
template <class Dot, int kFirst, int n, int T, class Source>
[[gnu::always_inline]] inline void steps(const Source& w, int64_t b, const Tokens<T>& tokens, typename Dot::Acc* s) {
    const auto operand = Dot::prepare(w.template step<kFirst>(b));
    const int8_t* x = tokens.x.q + kBlock * tokens.at(0, b) + 4 * kFirst;
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) s[t] = Dot::template step<kFirst>(s[t], operand, x + t * tokens.blocks * kBlock);
    if constexpr (n > 1) steps<Dot, kFirst + 1, n - 1>(w, b, tokens, s);
}

// The integer sums of block b, exact as floats.
template <class Dot, int T, class Source>
[[gnu::always_inline]] inline void block_sums(const Source& w, int64_t b, const Tokens<T>& tokens, f32x16* sums) {
    typename Dot::Acc s[T];
    const BlockSums* x_sums = tokens.x.sums;
    if constexpr (Source::kInParts) {
        typename Dot::Total total[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) {
            s[t] = Dot::begin(x_sums[tokens.at(t, b)].first);
            total[t] = Dot::zero();
        }
        steps<Dot, 0, 4>(w, b, tokens, s);
        const auto first = Dot::scale(w.part_scale(b, 0));
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) {
            total[t] = Dot::add(total[t], s[t], first);
            s[t] = Dot::begin(x_sums[tokens.at(t, b)].second());
        }
        steps<Dot, 4, 4>(w, b, tokens, s);
        const auto second = Dot::scale(w.part_scale(b, 1));
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) sums[t] = Dot::end(Dot::add(total[t], s[t], second));
    } else {
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) s[t] = Dot::begin(x_sums[tokens.at(t, b)].all);
        steps<Dot, 0, 8>(w, b, tokens, s);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) sums[t] = to_float(Dot::end(s[t], x_sums[tokens.at(t, b)].all));
    }
}

// What the mins of block b add.
template <int T, class Source>
[[gnu::always_inline]] inline void add_mins(const Source& w, int64_t b, const Tokens<T>& tokens, f32x16* acc) {
    const f32x16 m = w.min(b);
    if constexpr (Source::kInParts) {
        const f32x16 first = to_float(w.part_min(b, 0)), second = to_float(w.part_min(b, 1));
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) {
            const int64_t at = tokens.at(t, b);
            const BlockSums x = tokens.x.sums[at];
            // Exact: integers. The sum starts at +0, as an integer does.
            const f32x16 sum = fma(second, set1(float(x.second())), fma(first, set1(float(x.first)), set1(0)));
            acc[t] = fma(sum, mul(m, set1(tokens.x.d[at])), acc[t]);
        }
    } else {
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) acc[t] = fma(m, set1(tokens.x.e[tokens.at(t, b)]), acc[t]);
    }
}

// T tokens from `token` on, 16 rows: the whole of the product. A call takes as long as a row, so it is never inlined:
// one copy serves all that is done with the result.
template <class Dot, bool kHasMin, int T, class Source>
[[gnu::noinline]] void tile(const Source& source, int64_t blocks, const QuantizedRows& x, int64_t token, f32x16* y) {
    const Source w = source;
    const Tokens<T> tokens{x, token, blocks};
    f32x16 acc[T];
    for (int t = 0; t < T; t++) acc[t] = set1(0);
    for (int64_t b = 0; b < blocks; b++) {
        f32x16 sums[T];
        if constexpr (Source::kAhead) w.prefetch(b);
        block_sums<Dot>(w, b, tokens, sums);
        const f32x16 d = w.scale(b);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) acc[t] = fma(sums[t], mul(d, set1(x.d[tokens.at(t, b)])), acc[t]);
        if constexpr (kHasMin) add_mins(w, b, tokens, acc);
    }
    for (int t = 0; t < T; t++) y[t] = acc[t];
}

// The last tokens of a batch, fewer than a tile.
template <class Dot, bool kHasMin, int T, class Source>
inline void tail(int n, const Source& w, int64_t blocks, const QuantizedRows& x, int64_t token, f32x16* y) {
    if (n == T)
        tile<Dot, kHasMin, T>(w, blocks, x, token, y);
    else if constexpr (T > 1)
        tail<Dot, kHasMin, T - 1>(n, w, blocks, x, token, y);
}

template <int k, class Source>
[[gnu::always_inline]] inline void unpack_steps(const Source& w, int64_t b, uint8_t* to) {
    store_w8(to + 64 * k, w.template step<k>(b));
    if constexpr (k < 7) unpack_steps<k + 1>(w, b, to);
}

template <class Codes, class Scales>
inline auto unpack(const Packed<Codes, Scales>& w, int64_t blocks, uint8_t* scratch) {
    float* d = (float*)(scratch + Planes<8>::kBlockBytes * blocks);
    float* m = d + 16 * blocks;
    for (int64_t b = 0; b < blocks; b++) {
        unpack_steps<0>(w, b, scratch + Planes<8>::kBlockBytes * b);
        store(d + 16 * b, w.scale(b));
        if constexpr (Scales::kHasMin) store(m + 16 * b, w.min(b));
    }
    if constexpr (Scales::kInParts)
        return Panel<FloatScalesInParts<Scales>>{{scratch}, {{d, m}, w}};
    else
        return Panel<FloatScales>{{scratch}, {d, m}};
}

// All tokens of one group; sink(token, rows) takes each finished vector of 16 rows.
template <class Format, class Sink>
inline void group_product(const uint8_t* group, const MatmulArgs& a, const Sink& sink) {
    using Dot = typename Format::Dot;
    constexpr bool kHasMin = Format::Scales::kHasMin;
    const int64_t blocks = blocks_of(a.w.cols);
    const Packed<typename Format::Codes, typename Format::Scales> packed(group, blocks);
    f32x16 y[kMatmulTile > kDirectTokens ? kMatmulTile : kDirectTokens];
    if (a.n_tokens <= kDirectTokens) {
        tail<Dot, kHasMin, kDirectTokens>(int(a.n_tokens), packed, blocks, a.xq, 0, y);
        for (int t = 0; t < a.n_tokens; t++) sink(t, y[t]);
        return;
    }
    const auto panel = unpack(packed, blocks, a.scratch);
    int64_t token = 0;
    for (; token + kMatmulTile <= a.n_tokens; token += kMatmulTile) {
        tile<Dot, kHasMin, kMatmulTile>(panel, blocks, a.xq, token, y);
        for (int t = 0; t < kMatmulTile; t++) sink(token + t, y[t]);
    }
    if (const int rest = int(a.n_tokens - token)) {
        tail<Dot, kHasMin, kMatmulTile - 1>(rest, panel, blocks, a.xq, token, y);
        for (int t = 0; t < rest; t++) sink(token + t, y[t]);
    }
}

}  // namespace
}  // namespace pyruntime
