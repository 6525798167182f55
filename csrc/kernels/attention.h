// Attention of the query heads that share a kv head, over pages of 64 positions, with an online softmax.
//
// Keys are interleaved by 16 positions, so a lane is a key and a score is a chain of fma over head_dim: no horizontal
// sum. Values are rows, so a lane is an output element and the sum over keys is a chain of fma. R query rows (tokens x
// heads of the group) share every load and widening of K and V; each row has its own chains, so R changes no bit. Each
// chunk (page) is finished alone, (m, l, o), and then combined in ascending order (docs/numerics.md).
#pragma once

namespace pyruntime {
namespace {

struct HalfKV {
    using Element = uint16_t;
    static f32x16 load16(const uint16_t* p) { return load_f16(p); }
};
struct FloatKV {
    using Element = float;
    static f32x16 load16(const float* p) { return load(p); }
};

struct ChunkRange {
    int first, last;  // seen positions of the chunk, [first, last)
};

// The first position that a query at `position` sees.
inline int64_t oldest_seen(const AttentionArgs& a, int64_t position) {
    return a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
}

inline int within_chunk(int64_t i) { return i < 0 ? 0 : i > kPageTokens ? kPageTokens : int(i); }

inline ChunkRange seen(const AttentionArgs& a, int64_t position, int64_t chunk_start) {
    return {within_chunk(oldest_seen(a, position) - chunk_start), within_chunk(position + 1 - chunk_start)};
}

inline float exp_scalar(float x) {
    float lanes[kLanes];
    store(lanes, exp(set1(x)));
    return lanes[0];
}

// Scores, maxima and exponentials of R rows against one chunk; e is (R, 64). A row that sees nothing here gets l = 0.
template <class KV, int R>
inline void chunk_scores(const AttentionArgs& a, const float* q, int padded, const typename KV::Element* keys,
                         const ChunkRange* range, float* e, float* m, float* l) {
    const f32x16 scale = set1(a.scale), lowest = set1(-__builtin_inff());
    f32x16 largest[R];
    for (int r = 0; r < R; r++) largest[r] = lowest;
    for (int g = 0; g < kPageTokens / kLanes; g++) {
        f32x16 s[R];
        for (int r = 0; r < R; r++) s[r] = set1(0);
        const auto* column = keys + int64_t(g) * a.head_dim * kLanes;
        for (int i = 0; i < a.head_dim; i++) {
            const f32x16 k = KV::load16(column + int64_t(i) * kLanes);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) s[r] = fma(set1(q[r * padded + i]), k, s[r]);
        }
        for (int r = 0; r < R; r++) {
            const mask16 lanes = lanes_between(range[r].first - g * kLanes, range[r].last - g * kLanes);
            s[r] = select(lanes, mul(s[r], scale), lowest);
            store(e + r * kPageTokens + g * kLanes, s[r]);
            largest[r] = max(largest[r], s[r]);
        }
    }
    for (int r = 0; r < R; r++) {
        m[r] = max16(largest[r]);
        l[r] = 0;
        if (range[r].first >= range[r].last) continue;
        f32x16 total = set1(0);
        for (int g = 0; g < kPageTokens / kLanes; g++) {
            float* at = e + r * kPageTokens + g * kLanes;
            const mask16 lanes = lanes_between(range[r].first - g * kLanes, range[r].last - g * kLanes);
            const f32x16 p = select(lanes, exp(sub(load(at), set1(m[r]))), set1(0));
            store(at, p);
            total = g == 0 ? p : add(total, p);
        }
        l[r] = sum16(total);
    }
}

// o = e times the values of the chunk, over the positions that any row sees.
template <class KV, int R>
inline void chunk_values(const float* e, int padded, const typename KV::Element* values, ChunkRange any, float* o) {
    for (int i = 0; i < padded; i += kLanes) {
        f32x16 acc[R];
        for (int r = 0; r < R; r++) acc[r] = set1(0);
        for (int j = any.first; j < any.last; j++) {
            const f32x16 v = KV::load16(values + int64_t(j) * padded + i);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) acc[r] = fma(set1(e[r * kPageTokens + j]), v, acc[r]);
        }
        for (int r = 0; r < R; r++) store(o + r * padded + i, acc[r]);
    }
}

template <class KV, int R>
inline void attention_rows(const AttentionArgs& a, int64_t first_row) {
    static_assert(R <= 8, "attention_scratch_floats() has room for 8 rows");
    const int padded = int(round_up(a.head_dim, kLanes));
    float* q = a.scratch;  // R contiguous rows, then total (O), chunk (o) and e
    float* total = q + 8 * padded;
    float* chunk = total + 8 * padded;
    float* e = chunk + 8 * padded;
    float M[R] = {}, L[R] = {}, m[R], l[R];
    int64_t position[R], lowest = INT64_MAX, highest = 0;
    bool started[R];
    for (int r = 0; r < R; r++) {
        const int64_t token = (first_row + r) / a.group, head = (first_row + r) % a.group;
        const float* from = a.q + token * a.q_token_stride + head * a.head_dim;
        for (int i = 0; i < a.head_dim; i++) q[r * padded + i] = from[i];
        position[r] = a.first_position + token;
        const int64_t oldest = oldest_seen(a, position[r]);
        lowest = oldest < lowest ? oldest : lowest;
        highest = position[r];
        started[r] = false;
    }
    for (int64_t page = lowest / kPageTokens; page <= highest / kPageTokens; page++) {
        ChunkRange range[R], any = {kPageTokens, 0};
        for (int r = 0; r < R; r++) {
            range[r] = seen(a, position[r], page * kPageTokens);
            if (range[r].first >= range[r].last) continue;
            any.first = range[r].first < any.first ? range[r].first : any.first;
            any.last = range[r].last > any.last ? range[r].last : any.last;
        }
        const uint8_t* base = a.pages[page];
        chunk_scores<KV, R>(a, q, padded, (const typename KV::Element*)(base + a.key_offset), range, e, m, l);
        chunk_values<KV, R>(e, padded, (const typename KV::Element*)(base + a.value_offset), any, chunk);
        for (int r = 0; r < R; r++) {
            if (range[r].first >= range[r].last) continue;
            float *O = total + r * padded, *o = chunk + r * padded;
            if (!started[r]) {
                started[r] = true;
                M[r] = m[r];
                L[r] = l[r];
                for (int i = 0; i < padded; i += kLanes) store(O + i, load(o + i));
                continue;
            }
            const float larger = M[r] > m[r] ? M[r] : m[r];
            const float keep = exp_scalar(M[r] - larger), take = exp_scalar(m[r] - larger);
            M[r] = larger;
            L[r] = __builtin_fmaf(L[r], keep, l[r] * take);
            for (int i = 0; i < padded; i += kLanes)
                store(O + i, fma(load(O + i), set1(keep), mul(load(o + i), set1(take))));
        }
    }
    for (int r = 0; r < R; r++) {
        const int64_t token = (first_row + r) / a.group, head = (first_row + r) % a.group;
        float* to = a.out + token * a.out_token_stride + head * a.head_dim;
        const f32x16 inverse = set1(1.0f / L[r]);
        for (int i = 0; i < a.head_dim; i += kLanes) {
            const int left = a.head_dim - i < kLanes ? a.head_dim - i : kLanes;
            store_partial(to + i, add(mul(load(total + r * padded + i), inverse), set1(0)), left);
        }
    }
}

template <class KV, int R>
inline void attention_tail(int n, const AttentionArgs& a, int64_t row) {
    if (n == R)
        attention_rows<KV, R>(a, row);
    else if constexpr (R > 1)
        attention_tail<KV, R - 1>(n, a, row);
}

inline void attention(const AttentionArgs& a) {
    for (int64_t row = a.first_row, last = a.first_row + a.n_rows; row < last; row += kAttentionTile) {
        const int n = last - row < kAttentionTile ? int(last - row) : kAttentionTile;
        if (a.f16)
            attention_tail<HalfKV, kAttentionTile>(n, a, row);
        else
            attention_tail<FloatKV, kAttentionTile>(n, a, row);
    }
}

}  // namespace
}  // namespace pyruntime
