// Attention of the query heads that share a kv head, over pages of 64 positions, with an online softmax. The query rows
// of a block (tokens x heads of the group) go through the pages together. Each chunk (page) is finished alone, (m, l,
// o), and then combined in ascending order (docs/numerics.md).
#pragma once

namespace pyruntime {
namespace {

static_assert(kAttentionTile <= kMaxAttentionTile, "attention_scratch_floats() has no room for so many rows");

inline int within_chunk(int64_t i) { return i < 0 ? 0 : i > kPageTokens ? kPageTokens : int(i); }

inline ChunkRange seen(const AttentionArgs& a, int64_t position, int64_t chunk_start) {
    return {within_chunk(oldest_seen(a, position) - chunk_start), within_chunk(position + 1 - chunk_start)};
}

constexpr float kLaneNumbers[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// One query row.
struct QueryRow {
    int64_t token, head, position;
    ChunkRange range;  // within the chunk at hand
    float slope;       // of its head; 0 without alibi
    float m, l;        // of the chunk at hand
    float M, L;        // of all before
    bool started;
};

// The 64 products of a row become its weights, 0 for the keys that it does not see; m and l are theirs.
inline void chunk_softmax(const AttentionArgs& a, QueryRow& row, int64_t chunk_start, float* e) {
    constexpr int kGroups = kPageTokens / kLanes;
    const f32x16 lowest = set1(-__builtin_inff());
    f32x16 s[kGroups], largest = lowest;
    mask16 visible[kGroups];
    for (int g = 0; g < kGroups; g++) {
        s[g] = mul(load(e + g * kLanes), set1(a.scale));
        if (a.softcap > 0) s[g] = mul(set1(a.softcap), tanh(div(s[g], set1(a.softcap))));
        if (a.slopes) {  // times how far the key lies behind, as a number below 0
            const f32x16 first = set1(float(chunk_start + g * kLanes - row.position));
            s[g] = fma(set1(row.slope), add(first, load(kLaneNumbers)), s[g]);
        }
        visible[g] = lanes_between(row.range.first - g * kLanes, row.range.last - g * kLanes);
        s[g] = select(visible[g], s[g], lowest);
        largest = max(largest, s[g]);
    }
    row.m = max16(largest);
    f32x16 total = set1(0);
    for (int g = 0; g < kGroups; g++) {
        const f32x16 p = select(visible[g], exp(sub(s[g], set1(row.m))), set1(0));
        store(e + g * kLanes, p);
        total = g == 0 ? p : add(total, p);
    }
    row.l = sum16(total);
}

// What the sums so far and the chunk at hand are multiplied by when they are added, of each row: two exponentials, all
// rows' together.
struct ChunkFactors {
    float lanes[kLanes] = {};
    float& keep(int r) { return lanes[r]; }
    float& take(int r) { return lanes[kMaxAttentionTile + r]; }
};
static_assert(2 * kMaxAttentionTile <= kLanes);
inline ChunkFactors chunk_factors(const QueryRow* rows, int n_rows) {
    ChunkFactors f;
    for (int r = 0; r < n_rows; r++) {
        if (!rows[r].started || rows[r].range.empty()) continue;
        const float larger = rows[r].M > rows[r].m ? rows[r].M : rows[r].m;
        f.keep(r) = rows[r].M - larger;
        f.take(r) = rows[r].m - larger;
    }
    store(f.lanes, exp(load(f.lanes)));
    return f;
}

// O (n) takes the chunk's o in.
inline void combine_chunk(QueryRow& row, float keep, float take, int64_t n, const float* o, float* O) {
    if (!row.started) {
        row.started = true;
        row.M = row.m;
        row.L = row.l;
        for (int64_t i = 0; i < n; i += kLanes) store(O + i, load(o + i));
        return;
    }
    row.M = row.M > row.m ? row.M : row.m;
    row.L = __builtin_fmaf(row.L, keep, row.l * take);
    for (int64_t i = 0; i < n; i += kLanes) store(O + i, fma(load(O + i), set1(keep), mul(load(o + i), set1(take))));
}

// A sink is a chunk of its own, before all others: its score is m, its weight 1, and it has no value.
inline void begin_row(const AttentionArgs& a, QueryRow& row, int64_t n, float* O) {
    row.started = a.sinks != nullptr;
    if (!row.started) return;
    row.M = a.sinks[row.head];
    row.L = 1;
    for (int64_t i = 0; i < n; i += kLanes) store(O + i, set1(0));
}

inline void finish_row(const AttentionArgs& a, const QueryRow& row, const float* O) {
    float* to = a.out + row.token * a.out_token_stride + row.head * a.value_dim;
    const f32x16 inverse = set1(1.0f / row.L);
    for (int i = 0; i < a.value_dim; i += kLanes) {
        const int left = a.value_dim - i < kLanes ? a.value_dim - i : kLanes;
        store_partial(to + i, add(mul(load(O + i), inverse), set1(0)), left);
    }
}

// The query rows, contiguous and padded with zeros.
inline Queries gather_queries(const AttentionArgs& a, const QueryRow* rows, int n_rows, float* scratch) {
    Queries x{};
    x.q = scratch;
    x.stride = round_up(a.head_dim, kBlock);
    for (int r = 0; r < n_rows; r++) {
        const float* from = a.q + rows[r].token * a.q_token_stride + rows[r].head * a.head_dim;
        float* to = x.q + r * x.stride;
        for (int i = 0; i < a.head_dim; i++) to[i] = from[i];
        for (int64_t i = a.head_dim; i < x.stride; i++) to[i] = 0;
    }
    const int64_t blocks = x.stride / kBlock;
    float* d = x.q + n_rows * x.stride;
    x.quantized = {(int8_t*)(d + 3 * n_rows * blocks), d, d + n_rows * blocks, (BlockSums*)(d + 2 * n_rows * blocks)};
    x.scales = d + 3 * n_rows * blocks + n_rows * x.stride / 4;
    if (a.type == KVType::q8_0 && !a.latent)
        quantize(x.q, n_rows * x.stride, x.quantized.q, x.quantized.d, x.quantized.e, x.quantized.sums);
    return x;
}

// The query rows of a tile.
struct QueryRows {
    QueryRows(const AttentionArgs& args, int64_t first_row, int n_rows) : a(args), n(n_rows) {
        for (int r = 0; r < n; r++) {
            of[r].token = (first_row + r) / a.group;
            of[r].head = (first_row + r) % a.group;
            of[r].position = a.first_position + of[r].token;
            of[r].slope = a.slopes ? a.slopes[of[r].head] : 0.0f;
        }
    }
    // What they see of a page, each and together.
    ChunkRange look_at(int64_t page) {
        ChunkRange any = {kPageTokens, 0};
        for (int r = 0; r < n; r++) {
            const ChunkRange range = of[r].range = seen(a, of[r].position, page * kPageTokens);
            if (range.empty()) continue;
            any.first = range.first < any.first ? range.first : any.first;
            any.last = range.last > any.last ? range.last : any.last;
        }
        return any;
    }
    void begin(float* O) {
        for (int r = 0; r < n; r++) begin_row(a, of[r], width(), O + r * width());
    }
    // O takes the o of the page that was looked at in.
    void take_in(const float* o, float* O) {
        ChunkFactors f = chunk_factors(of, n);
        for (int r = 0; r < n; r++)
            if (!of[r].range.empty())
                combine_chunk(of[r], f.keep(r), f.take(r), width(), o + r * width(), O + r * width());
    }
    void finish(const float* O) const {
        for (int r = 0; r < n; r++) finish_row(a, of[r], O + r * width());
    }
    int64_t width() const { return round_up(a.value_dim, kLanes); }

    const AttentionArgs& a;
    int n;
    QueryRow of[kAttentionTile];
};

// m, l and o (rows, padded value_dim) of a page, in the memory from e on.
struct Chunks {
    Chunks(QueryRows& query_rows, float* scratch)
        : rows(query_rows),
          kernels(chunk_kernels(rows.a, rows.n)),
          e(scratch),
          queries(gather_queries(rows.a, rows.of, rows.n, e + rows.n * kPageTokens)) {}
    void compute(int64_t page, float* o) const {
        const AttentionArgs& a = rows.a;
        const ChunkRange any = rows.look_at(page);
        const uint8_t *keys = a.pages[page] + a.key_offset, *values = a.pages[page] + a.value_offset;
        const Next next_keys = keys_of(page + 1), own_values = values_of(page);
        kernels.scores(a, queries, keys, any, a.latent ? next_keys : own_values, e);
        for (int r = 0; r < rows.n; r++)
            if (!rows.of[r].range.empty()) chunk_softmax(a, rows.of[r], page * kPageTokens, e + r * kPageTokens);
        kernels.values(a, queries, e, values, any, a.latent ? Next{} : next_keys, o);
    }
    // What is asked for.
    Next keys_of(int64_t page) const {
        const AttentionArgs& a = rows.a;
        if (!a.streams || page > rows.of[rows.n - 1].position / kPageTokens) return {};
        const size_t n = a.latent ? kv_row_bytes(a.type, a.head_dim) : kv_key_bytes(a.type, a.head_dim);
        return {a.pages[page] + a.key_offset, int64_t(n)};
    }
    Next values_of(int64_t page) const {
        const AttentionArgs& a = rows.a;
        if (!a.streams) return {};
        return {a.pages[page] + a.value_offset, int64_t(kv_row_bytes(a.type, a.value_dim))};
    }

    QueryRows& rows;
    const ChunkKernels kernels;
    float* const e;
    const Queries queries;
};

inline void attention_rows(const AttentionArgs& a, int64_t first_row, int n_rows) {
    QueryRows rows(a, first_row, n_rows);
    float* total = a.scratch;
    float* chunk = total + n_rows * rows.width();
    const Chunks chunks(rows, chunk + n_rows * rows.width());
    rows.begin(total);
    const PageRange pages = pages_seen(a, first_row, n_rows);
    for (int64_t page = pages.first; page < pages.last; page++) {
        chunks.compute(page, chunk);
        rows.take_in(chunk, total);
    }
    rows.finish(total);
}

inline void attention(const AttentionArgs& a) {
    for (int64_t row = a.first_row, last = a.first_row + a.n_rows; row < last; row += kAttentionTile) {
        const int n = last - row < kAttentionTile ? int(last - row) : kAttentionTile;
        attention_rows(a, row, n);
    }
}

// The same in parts, of one tile of rows: some pages, each into its place among the partial results; and, when all are
// there, these in order.
inline float* partial(const AttentionArgs& a, int64_t page) {
    return a.partials + attention_partial_floats(a.n_rows, a.value_dim) * size_t(page - pages_seen(a).first);
}
inline void attention_chunks(const AttentionArgs& a, int64_t first_page, int64_t last_page) {
    QueryRows rows(a, a.first_row, int(a.n_rows));
    const Chunks chunks(rows, a.scratch);
    for (int64_t page = first_page; page < last_page; page++) {
        float* part = partial(a, page);
        chunks.compute(page, part + 2 * kMaxAttentionTile);
        for (int r = 0; r < rows.n; r++) {
            part[r] = rows.of[r].m;
            part[kMaxAttentionTile + r] = rows.of[r].l;
        }
    }
}
inline void attention_combine(const AttentionArgs& a) {
    QueryRows rows(a, a.first_row, int(a.n_rows));
    rows.begin(a.scratch);
    const PageRange pages = pages_seen(a);
    for (int64_t page = pages.first; page < pages.last; page++) {
        const float* part = partial(a, page);
        rows.look_at(page);
        for (int r = 0; r < rows.n; r++) {
            rows.of[r].m = part[r];
            rows.of[r].l = part[kMaxAttentionTile + r];
        }
        rows.take_in(part + 2 * kMaxAttentionTile, a.scratch);
    }
    rows.finish(a.scratch);
}

}  // namespace
}  // namespace pyruntime
