// What an instruction set offers the engine: one table of functions, every ISA with the same bits (docs/numerics.md).
// Plain structs and pointers only: this header is included by files compiled with ISA flags, where an inline function
// of the standard library could leak into the rest of the program.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/kv_layout.h"

#ifdef __FAST_MATH__
#error "docs/numerics.md: no fast-math"
#endif

namespace pyruntime {

constexpr int kMaxAttentionTile = 8;  // of every ISA
constexpr int kMaxTileGroups = 2;     // of every ISA
constexpr int kPeakShapes = 2;        // of the loop that measures

// Of the q of a block: all 32, and the first 16.
struct BlockSums {
    int16_t all, first;
    int32_t second() const { return all - first; }
};

// Activations quantized by blocks of 32; row t starts at q + t * cols, its blocks at t * cols / 32.
struct QuantizedRows {
    int8_t* q;
    float* d;  // scale
    float* e;  // d * sums.all
    BlockSums* sums;
};

// A packed weight matrix: groups of 16 rows interleaved (formats/pack.h draws the layout of each type).
struct PackedView {
    uint32_t type;  // formats::Type
    int64_t rows, cols;
    const uint8_t* data;  // ceil(rows / 16) groups
    size_t group_bytes;
};

// Codes of the activations, as ACTIVATIONS in pyruntime/plan/operations/rows.py. The last one is for gates alone.
enum Activation { kSilu, kGelu, kGeluTanh, kRelu, kRelu2, kSwigluOai };

struct MatmulArgs {
    PackedView w;
    PackedView up;   // data != nullptr: y = activation(x w + bias) * (x up + up_bias), a gated feed-forward
    int activation;  // of it
    int64_t n_tokens;
    const float* x;         // float32 weights read these ...
    QuantizedRows xq;       // ... quantized ones these
    const float* bias;      // (rows) or nullptr, added to the product
    const float* up_bias;   // of a gated product: both or none
    const float* residual;  // then added where not nullptr, never to a gated product; the stride is y's
    float* y;
    int64_t y_stride;  // floats from a row to the next
    uint8_t* scratch;  // kMatmulScratchBytes, 64-byte aligned, one a thread
};

struct RopeArgs {
    float* x;              // (n_heads, head_dim) of one token, in place; the first element that turns
    const float* cos_sin;  // n_rot / 2 cosines, then as many sines
    int n_heads, head_dim, n_rot;
    bool neox;  // pairs (i, i + n_rot / 2) instead of (2i, 2i + 1)
};

// One layer and kv head, with its keys and values in pages (kv_layout.h).
struct AttentionArgs {
    const float* q;          // first query row; row r belongs to token r / group, head r % group
    int64_t q_token_stride;  // floats from a token's heads to the next token's
    float* out;              // (tokens, heads, value_dim)
    int64_t out_token_stride;
    int64_t first_row, n_rows;  // rows of this call within the piece
    int group;                  // query heads that share a kv head
    int head_dim, value_dim;
    int64_t first_position;  // position of row 0's token
    int64_t window;          // 0: none
    float scale;
    float softcap;        // 0: none
    const float* slopes;  // alibi's, of each head of the group; nullptr: none
    const float* sinks;   // a score without a value, of each head of the group; nullptr: none
    uint8_t* const* pages;
    size_t key_offset, value_offset;  // of this layer and head in a page, in bytes
    KVType type;
    bool latent;      // keys are rows, which begin with the values
    bool streams;     // keys and values are read once, from memory: they are asked for ahead of their use
    float* scratch;   // attention_scratch_floats(head_dim, value_dim), one a thread
    float* partials;  // of attention_chunks: attention_partial_floats(n_rows, value_dim) for each page of pages_seen()
};

// The first position that a query at `position` sees.
static inline int64_t oldest_seen(const AttentionArgs& a, int64_t position) {
    return a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
}
// Those that n query rows from first_row on see, [first, last).
struct PageRange {
    int64_t first, last;
};
static inline PageRange pages_seen(const AttentionArgs& a, int64_t first_row, int64_t n) {
    const int64_t first = a.first_position + first_row / a.group,
                  last = a.first_position + (first_row + n - 1) / a.group;
    return {oldest_seen(a, first) / kPageTokens, last / kPageTokens + 1};
}
static inline PageRange pages_seen(const AttentionArgs& a) { return pages_seen(a, a.first_row, a.n_rows); }

struct KVStoreArgs {
    const float* k;  // (n_kv_heads, head_dim) of one token
    const float* v;  // (n_kv_heads, value_dim)
    int n_kv_heads, head_dim, value_dim;
    uint8_t* page;
    int slot;  // position within the page
    size_t key_offset, value_offset, key_head_bytes, value_head_bytes;
    KVType type;
    bool latent;  // k is stored as a row, and there is no v
};

static inline int64_t groups_of(int64_t rows) { return (rows + kLanes - 1) / kLanes; }

struct KernelTable {
    const char* name;
    int direct_tokens;  // up to so many are multiplied straight from the packed weights
    int tile_groups, attention_tile;
    void (*quantize)(const float* x, int64_t cols, int8_t* q, float* d, float* e, BlockSums* sums);  // one row
    void (*matmul)(const MatmulArgs& args, int64_t first_group, int64_t last_group);
    // Of one row, or of one head. A weight or a bias may be nullptr. In these and what follows y may be an input.
    void (*rms_norm)(const float* x, const float* w, float eps, int64_t n, float* y);
    void (*layer_norm)(const float* x, const float* w, const float* b, float eps, int64_t n, float* y);
    void (*add)(const float* a, const float* b, int64_t n, float* y);
    void (*add_scaled)(float factor, const float* x, int64_t n, float* y);  // y = fma(factor, x, y)
    void (*scale)(const float* x, float factor, int64_t n, float* y);
    void (*softcap)(const float* x, float cap, int64_t n, float* y);  // cap * tanh(x / cap)
    void (*activation)(int kind, const float* x, int64_t n, float* y);
    void (*gated)(int kind, const float* gate, const float* up, int64_t n, float* y);
    void (*sigmoid)(const float* x, int64_t n, float* y);
    void (*rope)(const RopeArgs& args);
    void (*kv_store)(const KVStoreArgs& args);
    void (*attention)(const AttentionArgs& args);
    // The same in parts, for at most attention_tile rows: some pages each, by any threads; then the whole from the
    // parts.
    void (*attention_chunks)(const AttentionArgs& args, int64_t first_page, int64_t last_page);
    void (*attention_combine)(const AttentionArgs& args);
    bool (*all_finite)(const float* x, int64_t n);
    void (*exp)(const float* x, int64_t n, float* y);  // the sampler's weights
    // Products of 16 rows of 4 weights (bytes, up to 15) and as many activations, the same 4 for each row, again and
    // again; `sums` are those of the rows. Returns how many products were made. Long sums wrap around.
    int64_t (*int8_peak)(int shape, const uint8_t* w, const int8_t* x, int64_t rounds, int32_t* sums);
};

// Bytes, scales and mins of a panel; two panels of it fit in a first-level cache of 32 KB beside a tile's activations.
constexpr int64_t kPanelBlocks = 16;
constexpr size_t kPanelBytes = kPanelBlocks * (512 + 128);
constexpr int64_t kPanelTokens = 516;  // whose sums are kept at a time, 64 KB: a step of 512, in whole tiles
constexpr size_t kSumsBytes = kMaxTileGroups * kPanelTokens * kLanes * sizeof(float);
// Panels and sums; the matrices of a gated product take turns in them. And what its gate gave.
constexpr size_t kPanelScratchBytes = kMaxTileGroups * kPanelBytes + kSumsBytes;
constexpr size_t kMatmulScratchBytes = kPanelScratchBytes + kSumsBytes;

// Of each row: q, the sum so far, the sum of the chunk, the weights of the chunk; q once more, quantized (a byte an
// element, three words a block); and the widened scales of a chunk of rows.
static inline size_t attention_scratch_floats(int64_t head_dim, int64_t value_dim) {
    const int64_t k = round_up(head_dim, kBlock), v = round_up(value_dim, kBlock);
    const int64_t quantized = k / 4 + 3 * (k / kBlock), scales = (k + v) / kBlock * kPageTokens;
    return size_t(kMaxAttentionTile * (k + 2 * v + kPageTokens + quantized) + scales);
}

// Of a page: m and l of each row, and o.
static inline size_t attention_partial_floats(int64_t n_rows, int64_t value_dim) {
    return size_t(2 * kMaxAttentionTile + n_rows * round_up(value_dim, kLanes));
}

}  // namespace pyruntime
