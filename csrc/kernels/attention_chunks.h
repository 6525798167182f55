// The two products of a chunk of attention, queries times keys and weights times values, for each way in which a page
// may be stored. R query rows share every load and widening of the page, and G vectors of 16 lanes every load of a
// query or a weight; each row and lane has its own chains, so R and G change no bit.
//   keys     a lane is a key, and a score is a chain of fma over head_dim: no horizontal sum. In q8_0 it is the product
//            of a Q8_0 weight whose rows are the keys with the quantized query: four elements a lane and instruction.
//   values   a lane is an output element, and the sum over keys a chain of fma
//   latent   a lane is an element: a score is a chain of fma over vectors and a sum across lanes at its end
#pragma once

namespace pyruntime {
namespace {

struct ChunkRange {
    int first, last;  // positions of the chunk, [first, last)
    bool empty() const { return first >= last; }
};

// What is read after a product, which asks for it; nothing if it is in the caches.
struct Next {
    const uint8_t* at;
    int64_t bytes;
};

// R query rows. Of a q8_0 cache whose keys are interleaved they are quantized too.
struct Queries {
    float* q;        // (R, stride), padded with zeros
    int64_t stride;  // head_dim padded to whole blocks
    QuantizedRows quantized;
    float* scales;  // room for those of a chunk of rows
};

inline int first_group(ChunkRange any) { return any.first / kLanes; }
inline int last_group(ChunkRange any) { return (any.last + kLanes - 1) / kLanes; }

// How many vectors a few rows take at once: with one alone, one fma would wait for another.
template <int R>
constexpr int vectors_together() {
    return R * 4 <= kAttentionSums ? 4 : R * 2 <= kAttentionSums ? 2 : 1;
}

// G groups of 16 keys from g on.
template <class KV, int R, int G>
inline void key_group_scores(const AttentionArgs& a, const Queries& x, const uint8_t* keys, int g, Ahead& ahead,
                             float* e) {
    f32x16 s[G][R];
    for (int v = 0; v < G; v++)
        for (int r = 0; r < R; r++) s[v][r] = set1(0);
    const int64_t group = int64_t(a.head_dim) * kLanes;
    const auto* column = (const typename KV::Element*)keys + g * group;
    for (int i = 0; i < a.head_dim; i++, column += kLanes) {
        ahead.ask();
        f32x16 k[G];
#pragma GCC unroll 4
        for (int v = 0; v < G; v++) k[v] = KV::load16(column + v * group);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const f32x16 q = set1(x.q[r * x.stride + i]);
#pragma GCC unroll 4
            for (int v = 0; v < G; v++) s[v][r] = fma(q, k[v], s[v][r]);
        }
    }
    for (int v = 0; v < G; v++)
        for (int r = 0; r < R; r++) store(e + r * kPageTokens + (g + v) * kLanes, s[v][r]);
}

// e (R, 64) = q times the keys, at least those of `any`.
template <class KV, int R>
inline void key_scores(const AttentionArgs& a, const Queries& x, const uint8_t* keys, ChunkRange any, Next next,
                       float* e) {
    constexpr int G = vectors_together<R>();
    int g = first_group(any);
    Ahead ahead(next.at, next.bytes, a.head_dim * ((last_group(any) - g + G - 1) / G));
    for (; g + G <= last_group(any); g += G) key_group_scores<KV, R, G>(a, x, keys, g, ahead, e);
    for (; g < last_group(any); g++) key_group_scores<KV, R, 1>(a, x, keys, g, ahead, e);
}

template <int R>
inline void byte_key_scores(const AttentionArgs&, const Queries& x, const uint8_t* keys, ChunkRange any, Next next,
                            float* e) {
    using Keys = Packed<Q8_0::Codes, Q8_0::Scales>;
    const int64_t blocks = x.stride / kBlock;
    Ahead ahead(next.at, next.bytes, last_group(any) - first_group(any));
    for (int g = first_group(any); g < last_group(any); g++) {
        ahead.ask();
        f32x16 s[R];
        const int64_t bytes = ByteStore::packed_q8_0_bytes(blocks);
        const Keys rows(keys + g * bytes, blocks, size_t(bytes));
        direct_tile<Q8_0::Dot, /*kHasMin=*/false, R>(rows, blocks, x.quantized, 0, s);
        for (int r = 0; r < R; r++) store(e + r * kPageTokens + g * kLanes, s[r]);
    }
}

template <class Rows, int R>
inline void row_scores(const AttentionArgs& a, const Queries& x, const uint8_t* keys, ChunkRange any, Next next,
                       float* e) {
    const Rows rows(keys, a.head_dim, x.scales);
    Ahead ahead(next.at, next.bytes, any.last - any.first);
    for (int j = any.first; j < any.last; j++) {
        ahead.ask();
        f32x16 s[R];
        for (int r = 0; r < R; r++) s[r] = set1(0);
        for (int64_t i = 0; i < rows.stride; i += kLanes) {
            const f32x16 k = rows.load16(j, i);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) s[r] = fma(load(x.q + r * x.stride + i), k, s[r]);
        }
        for (int r = 0; r < R; r++) e[r * kPageTokens + j] = sum16(s[r]);
    }
}

// G vectors of o from element i on.
template <class Rows, int R, int G>
inline void value_vectors(const Rows& rows, const float* e, ChunkRange any, int64_t i, int64_t n, Ahead& ahead,
                          float* o) {
    f32x16 acc[G][R];
    for (int v = 0; v < G; v++)
        for (int r = 0; r < R; r++) acc[v][r] = set1(0);
    for (int j = any.first; j < any.last; j++) {
        ahead.ask();
        f32x16 value[G];
#pragma GCC unroll 4
        for (int v = 0; v < G; v++) value[v] = rows.load16(j, i + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const f32x16 w = set1(e[r * kPageTokens + j]);
#pragma GCC unroll 4
            for (int v = 0; v < G; v++) acc[v][r] = fma(w, value[v], acc[v][r]);
        }
    }
    for (int v = 0; v < G; v++)
        for (int r = 0; r < R; r++) store(o + r * n + i + v * kLanes, acc[v][r]);
}

// o (R, padded value_dim) = e times the values of `any`.
template <class Rows, int R>
inline void chunk_values(const AttentionArgs& a, const Queries& x, const float* e, const uint8_t* values,
                         ChunkRange any, Next next, float* o) {
    constexpr int G = vectors_together<R>();
    const Rows rows(values, a.latent ? a.head_dim : a.value_dim, x.scales);
    const int64_t n = round_up(a.value_dim, kLanes);
    Ahead ahead(next.at, next.bytes, (any.last - any.first) * ((n / kLanes + G - 1) / G));
    int64_t i = 0;
    for (; i + G * kLanes <= n; i += G * kLanes) value_vectors<Rows, R, G>(rows, e, any, i, n, ahead, o);
    for (; i < n; i += kLanes) value_vectors<Rows, R, 1>(rows, e, any, i, n, ahead, o);
}

// The products for one way of storing and one number of rows.
struct ChunkKernels {
    void (*scores)(const AttentionArgs& a, const Queries& x, const uint8_t* keys, ChunkRange any, Next next, float* e);
    void (*values)(const AttentionArgs& a, const Queries& x, const float* e, const uint8_t* values, ChunkRange any,
                   Next next, float* o);
};

template <class KV>
struct FloatCache {
    using Rows = FloatRows<KV>;
    template <int R>
    static ChunkKernels kernels() {
        return {key_scores<KV, R>, chunk_values<Rows, R>};
    }
};
struct ByteCache {
    using Rows = ByteRows;
    template <int R>
    static ChunkKernels kernels() {
        return {byte_key_scores<R>, chunk_values<Rows, R>};
    }
};
template <class Cache>
struct LatentCache {
    using Rows = typename Cache::Rows;
    template <int R>
    static ChunkKernels kernels() {
        return {row_scores<Rows, R>, chunk_values<Rows, R>};
    }
};

template <class Cache, int R = kAttentionTile>
inline ChunkKernels for_rows(int n_rows) {
    if constexpr (R > 1)
        if (n_rows < R) return for_rows<Cache, R - 1>(n_rows);
    return Cache::template kernels<R>();
}
template <class Cache>
inline ChunkKernels for_rows_of(bool latent, int n_rows) {
    return latent ? for_rows<LatentCache<Cache>>(n_rows) : for_rows<Cache>(n_rows);
}
inline ChunkKernels chunk_kernels(const AttentionArgs& a, int n_rows) {
    switch (a.type) {
        case KVType::f32:
            return for_rows_of<FloatCache<FloatKV>>(a.latent, n_rows);
        case KVType::f16:
            return for_rows_of<FloatCache<HalfKV>>(a.latent, n_rows);
        default:
            return for_rows_of<ByteCache>(a.latent, n_rows);
    }
}

}  // namespace
}  // namespace pyruntime
