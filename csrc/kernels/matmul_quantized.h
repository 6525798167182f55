// Products of quantized weights with quantized activations.
//
// One lane is one output row, so the sum of a block is exact in int32 and the float sum goes over the blocks in
// ascending order, for one token as for a thousand: matrix-vector and matrix-matrix have the same bits.
//   y = fma(float(S), d_w * d_x, y)         every format
//   y = fma(m_w, d_x * sum(x), y)           formats with a min; in parts: y = fma(float(M), m_w * d_x, y)
// where S is the sum of the block, or, of formats whose blocks are in two parts of 16 columns, that of the parts' sums
// times their integer scales; M likewise is that of the activations times integer mins.
// Two ways to the same numbers. Up to kDirectTokens tokens read the packed weights once and widen them in registers:
// memory bandwidth is the limit. More tokens share panels (kPanelBlocks blocks of a group of 16 rows as bytes and float
// scales, in L1), unpacked once, and go past them a tile at a time: integer throughput is the limit. Where an ISA
// multiplies two tokens at a time (kTokenPairs), the steps of a panel lie in it as such a product takes them.
#pragma once

namespace pyruntime {
namespace {

// From memory a second tile of tokens, which finds the group in the caches, costs less than a panel: of 16 tokens on
// AVX-512, 32 in Q4_K, 8 on AVX2.
constexpr int kDirectTokens = 2 * kDirectTile;

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
    int64_t first;  // of its blocks
    i32x16 part_scale(int64_t b, int part) const { return packed.part_scale(first + b, part); }
    i32x16 part_min(int64_t b, int part) const { return packed.part_min(first + b, part); }
};
template <class Scales>
struct Panel : Planes<8>, Scales {
    static constexpr bool kAhead = false, kZipped = kTokenPairs;
};

// What is multiplied together: R groups of rows with T rows of activations, from `token` on. Block b of the weights
// meets block first_block + b of those.
template <class Source, int R, int T>
struct Tile {
    static constexpr int kGroups = R, kTokens = T;
    using Weights = Source;
    Source w[R];
    const QuantizedRows& x;
    int64_t token, first_block, row_blocks;  // the last: of a row of activations
    int64_t at(int t, int64_t b) const { return (token + t) * row_blocks + first_block + b; }
};

// Sums of a tile.
template <class Value, class Tile>
struct Sums {
    Value of[Tile::kGroups][Tile::kTokens];
};

// For each group and token of a tile. A group's neighbour takes the same activations while they are in registers.
template <class Tile, class Work>
[[gnu::always_inline]] inline void each(const Work& work) {
#pragma GCC unroll 16
    for (int t = 0; t < Tile::kTokens; t++)
#pragma GCC unroll 4
        for (int r = 0; r < Tile::kGroups; r++) work(r, t);
}

// Adds steps kFirst .. kFirst + n - 1 of block b.
template <class Dot, int kFirst, int n, class Tile>
[[gnu::always_inline]] inline void steps(const Tile& tile, int64_t b, Sums<typename Dot::Acc, Tile>& s) {
    const int8_t* x = tile.x.q + kBlock * tile.at(0, b) + 4 * kFirst;
    const int64_t stride = kBlock * tile.row_blocks;
    if constexpr (Tile::Weights::kZipped) {
        static_assert(Tile::kGroups == 1);
        add_zipped(s.of[0], tile.w[0].q + Planes<8>::kBlockBytes * b + 64 * kFirst, n, x, stride);
    } else {
        typename Dot::Operand operand[Tile::kGroups];
#pragma GCC unroll 4
        for (int r = 0; r < Tile::kGroups; r++) operand[r] = Dot::prepare(tile.w[r].template step<kFirst>(b));
        each<Tile>(
            [&](int r, int t) { s.of[r][t] = Dot::template step<kFirst>(s.of[r][t], operand[r], x + t * stride); });
        if constexpr (n > 1) steps<Dot, kFirst + 1, n - 1>(tile, b, s);
    }
}

// The integer sums of block b, exact as floats.
template <class Dot, class Tile>
[[gnu::always_inline]] inline void block_sums(const Tile& tile, int64_t b, Sums<f32x16, Tile>& sums) {
    Sums<typename Dot::Acc, Tile> s;
    const BlockSums* x_sums = tile.x.sums;
    if constexpr (Tile::Weights::kInParts) {
        Sums<typename Dot::Total, Tile> total;
        typename Dot::Scale scale[Tile::kGroups];
        each<Tile>([&](int r, int t) {
            s.of[r][t] = Dot::begin(x_sums[tile.at(t, b)].first);
            total.of[r][t] = Dot::zero();
        });
        steps<Dot, 0, 4>(tile, b, s);
#pragma GCC unroll 4
        for (int r = 0; r < Tile::kGroups; r++) scale[r] = Dot::scale(tile.w[r].part_scale(b, 0));
        each<Tile>([&](int r, int t) {
            total.of[r][t] = Dot::add(total.of[r][t], s.of[r][t], scale[r]);
            s.of[r][t] = Dot::begin(x_sums[tile.at(t, b)].second());
        });
        steps<Dot, 4, 4>(tile, b, s);
#pragma GCC unroll 4
        for (int r = 0; r < Tile::kGroups; r++) scale[r] = Dot::scale(tile.w[r].part_scale(b, 1));
        each<Tile>([&](int r, int t) { sums.of[r][t] = Dot::end(Dot::add(total.of[r][t], s.of[r][t], scale[r])); });
    } else {
        each<Tile>([&](int r, int t) { s.of[r][t] = Dot::begin(x_sums[tile.at(t, b)].all); });
        steps<Dot, 0, 8>(tile, b, s);
        each<Tile>([&](int r, int t) { sums.of[r][t] = to_float(Dot::end(s.of[r][t], x_sums[tile.at(t, b)].all)); });
    }
}

// What the mins of block b add.
template <class Tile>
[[gnu::always_inline]] inline void add_mins(const Tile& tile, int64_t b, Sums<f32x16, Tile>& acc) {
    f32x16 m[Tile::kGroups];
#pragma GCC unroll 4
    for (int r = 0; r < Tile::kGroups; r++) m[r] = tile.w[r].min(b);
    if constexpr (Tile::Weights::kInParts) {
        each<Tile>([&](int r, int t) {
            const f32x16 first = to_float(tile.w[r].part_min(b, 0)), second = to_float(tile.w[r].part_min(b, 1));
            const int64_t at = tile.at(t, b);
            const BlockSums x = tile.x.sums[at];
            // Exact: integers. The sum starts at +0, as an integer does.
            const f32x16 sum = fma(second, set1(float(x.second())), fma(first, set1(float(x.first)), set1(0)));
            acc.of[r][t] = fma(sum, mul(m[r], set1(tile.x.d[at])), acc.of[r][t]);
        });
    } else {
        each<Tile>([&](int r, int t) { acc.of[r][t] = fma(m[r], set1(tile.x.e[tile.at(t, b)]), acc.of[r][t]); });
    }
}

// Adds `blocks` blocks.
template <class Dot, bool kHasMin, class Tile>
[[gnu::always_inline]] inline void add_blocks(const Tile& tile, int64_t blocks, Sums<f32x16, Tile>& acc) {
    for (int64_t b = 0; b < blocks; b++) {
        Sums<f32x16, Tile> sums;
        if constexpr (Tile::Weights::kAhead)
            for (const auto& w : tile.w) w.prefetch(b);
        block_sums<Dot>(tile, b, sums);
        f32x16 d[Tile::kGroups];
#pragma GCC unroll 4
        for (int r = 0; r < Tile::kGroups; r++) d[r] = tile.w[r].scale(b);
        each<Tile>([&](int r, int t) {
            acc.of[r][t] = fma(sums.of[r][t], mul(d[r], set1(tile.x.d[tile.at(t, b)])), acc.of[r][t]);
        });
        if constexpr (kHasMin) add_mins(tile, b, acc);
    }
}

// The product of one group, straight from its packed form, with T tokens from `token` on. A call takes as long as a
// row, so this and add_tile are never inlined: one copy serves all that is done with the result.
template <class Dot, bool kHasMin, int T, class Source>
[[gnu::noinline]] void direct_tile(const Source& w, int64_t blocks, const QuantizedRows& x, int64_t token, f32x16* y) {
    using Row = Tile<Source, 1, T>;
    const Row tile{{w}, x, token, 0, blocks};
    Sums<f32x16, Row> acc;
    each<Row>([&](int r, int t) { acc.of[r][t] = set1(0); });
    add_blocks<Dot, kHasMin>(tile, blocks, acc);
    each<Row>([&](int r, int t) { y[t] = acc.of[r][t]; });
}
template <class Dot, bool kHasMin, int T = kDirectTile, class Source>
inline void direct_tile_of(int64_t n, const Source& w, int64_t blocks, const QuantizedRows& x, int64_t token,
                           f32x16* y) {
    if (n >= T)
        direct_tile<Dot, kHasMin, T>(w, blocks, x, token, y);
    else if constexpr (T > 1)
        direct_tile_of<Dot, kHasMin, T - 1>(n, w, blocks, x, token, y);
}

// Adds the product of panels of `blocks` blocks to y, (tokens, R) vectors of 16 rows, where the first of them begin.
template <class Dot, bool kHasMin, class Tile>
[[gnu::noinline]] void add_tile(const Tile& given, int64_t blocks, f32x16* y) {
    const Tile tile = given;
    Sums<f32x16, Tile> acc;
    if (tile.first_block == 0)
        each<Tile>([&](int r, int t) { acc.of[r][t] = set1(0); });
    else
        each<Tile>([&](int r, int t) { acc.of[r][t] = y[t * Tile::kGroups + r]; });
    add_blocks<Dot, kHasMin>(tile, blocks, acc);
    each<Tile>([&](int r, int t) { y[t * Tile::kGroups + r] = acc.of[r][t]; });
}

// What is done with a product: take(i, t, v) gets that of the 16 rows of group i with token t, and ask(t) comes some
// time before: what is read and written then, a line of a row of its own for each token, is in no cache.
template <class Ask, class Take>
struct Sink {
    Ask ask;
    Take take;
};
template <class Ask, class Take>
Sink(Ask, Take) -> Sink<Ask, Take>;

// Tokens token .. last - 1, T at a time and the rest of them in a smaller tile. With the last blocks the results go to
// the sink, those of a tile while the next one is being multiplied: their lines of y are not in the caches.
template <class Format, int T, int R, class Source, class Sink>
inline void add_tiles(const Source (&w)[R], int64_t blocks, const MatmulArgs& a, int64_t token, int64_t last,
                      int64_t first_block, f32x16* y, Ahead& ahead, const Sink& sink) {
    static_assert(R <= 2);
    constexpr auto add = add_tile<typename Format::Dot, Format::Scales::kHasMin, Tile<Source, R, T>>;
    const int64_t row_blocks = blocks_of(a.w.cols);
    for (; token + T <= last; token += T, y += T * R) {
        ahead.ask();
        const bool is_last = first_block + blocks == row_blocks;
        if (is_last)
            for (int t = 0; t < T; t++) sink.ask(token + t);
        if constexpr (R == 1)
            add({{w[0]}, a.xq, token, first_block, row_blocks}, blocks, y);
        else
            add({{w[0], w[1]}, a.xq, token, first_block, row_blocks}, blocks, y);
        if (is_last)
            for (int t = 0; t < T; t++)
                for (int r = 0; r < R; r++) sink.take(r, token + t, y[t * R + r]);
    }
    if constexpr (T > 1)
        if (token < last) add_tiles<Format, T - 1>(w, blocks, a, token, last, first_block, y, ahead, sink);
}

template <int k, class Source>
[[gnu::always_inline]] inline void unpack_steps(const Source& w, int64_t b, uint8_t* to) {
    if constexpr (kTokenPairs) {
        store_zipped(to + 64 * k, w.template step<k>(b), w.template step<k + 1>(b));
    } else {
        store_w8(to + 64 * k, w.template step<k>(b));
        store_w8(to + 64 * k + 64, w.template step<k + 1>(b));
    }
    if constexpr (k < 6) unpack_steps<k + 2>(w, b, to);
}

// Blocks first .. first + n - 1 of a group as a panel.
template <class Codes, class Scales>
inline auto unpack(const Packed<Codes, Scales>& w, int64_t first, int64_t n, uint8_t* panel) {
    float* d = (float*)(panel + Planes<8>::kBlockBytes * n);
    float* m = d + 16 * n;
    for (int64_t b = 0; b < n; b++) {
        unpack_steps<0>(w, first + b, panel + Planes<8>::kBlockBytes * b);
        store(d + 16 * b, w.scale(first + b));
        if constexpr (Scales::kHasMin) store(m + 16 * b, w.min(first + b));
    }
    if constexpr (Scales::kInParts)
        return Panel<FloatScalesInParts<Scales>>{{panel}, {{d, m}, w, first}};
    else
        return Panel<FloatScales>{{panel}, {d, m}};
}

// Up to kDirectTokens tokens of one group, which stays in the caches between tiles; sink.take(0, token, rows) gets each
// finished vector of 16 rows.
template <class Format, class Sink>
inline void direct_product(const uint8_t* group, const MatmulArgs& a, const Sink& sink) {
    const int64_t blocks = blocks_of(a.w.cols);
    const Packed<typename Format::Codes, typename Format::Scales> w(group, blocks, a.w.group_bytes);
    f32x16 y[kDirectTile];
    for (int64_t token = 0; token < a.n_tokens; token += kDirectTile) {
        const int64_t n = a.n_tokens - token < kDirectTile ? a.n_tokens - token : kDirectTile;
        direct_tile_of<typename Format::Dot, Format::Scales::kHasMin>(n, w, blocks, a.xq, token, y);
        for (int64_t t = 0; t < n; t++) sink.take(0, token + t, y[t]);
    }
}

// More tokens of R groups that follow each other. Block by block of columns, for all tokens: both the panels and the
// sums stay in the first caches, whatever the sizes of the matrix.
template <class Format, int R, class Sink>
inline void panel_product(const uint8_t* group, const MatmulArgs& a, const Sink& sink) {
    using Weights = Packed<typename Format::Codes, typename Format::Scales>;
    constexpr int T = Format::Scales::kInParts ? kMatmulTileInParts : kMatmulTile;
    const int64_t blocks = blocks_of(a.w.cols), n_panels = (blocks + kPanelBlocks - 1) / kPanelBlocks;
    f32x16* y = (f32x16*)a.scratch;
    uint8_t* panels = a.scratch + sizeof(f32x16) * kPanelTokens * R;
    const int64_t group_bytes = int64_t(a.w.group_bytes) * R, n_tiles = (a.n_tokens + T - 1) / T * n_panels;
    Ahead ahead(group + group_bytes, group_bytes, n_tiles);  // the groups that come next
    for (int64_t token = 0; token < a.n_tokens; token += kPanelTokens) {
        const int64_t last = token + kPanelTokens < a.n_tokens ? token + kPanelTokens : a.n_tokens;
        for (int64_t p = 0; p < n_panels; p++) {
            const int64_t first = blocks * p / n_panels, n = blocks * (p + 1) / n_panels - first;
            const auto panel = [&](int r) {
                return unpack(Weights(group + size_t(r) * a.w.group_bytes, blocks, a.w.group_bytes), first, n,
                              panels + r * kPanelBytes);
            };
            if constexpr (R == 1) {
                const decltype(panel(0)) w[] = {panel(0)};
                add_tiles<Format, T>(w, n, a, token, last, first, y, ahead, sink);
            } else {
                const decltype(panel(0)) w[] = {panel(0), panel(1)};
                add_tiles<Format, T>(w, n, a, token, last, first, y, ahead, sink);
            }
        }
    }
}

// n groups that follow each other, at most as many as groups_together() says: of all tokens, of which these may be few.
template <class Format, class Sink>
inline void product(const uint8_t* group, int n, const MatmulArgs& a, const Sink& sink) {
    if (n == 1 && a.n_tokens <= kDirectTokens) return direct_product<Format>(group, a, sink);
    if constexpr (kTileGroups == 2)
        if (n == 2) return panel_product<Format, 2>(group, a, sink);
    panel_product<Format, 1>(group, a, sink);
}
// Straight from memory groups are fastest one after the other: two streams at once are prefetched worse.
inline int groups_together(const MatmulArgs& a) { return a.n_tokens <= kDirectTokens ? 1 : kTileGroups; }

}  // namespace
}  // namespace pyruntime
