// The two products of a chunk of attention, queries times keys and weights times values, for each way in which a page
// may be stored. R query rows share every load and widening of the page; each row has its own chains, so R changes no
// bit.
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

// R query rows. Of a q8_0 cache whose keys are interleaved they are quantized too.
struct Queries {
    float* q;        // (R, stride), padded with zeros
    int64_t stride;  // head_dim padded to whole blocks
    QuantizedRows quantized;
    float* scales;  // room for those of a chunk of rows
};

inline int first_group(ChunkRange any) { return any.first / kLanes; }
inline int last_group(ChunkRange any) { return (any.last + kLanes - 1) / kLanes; }

// e (R, 64) = q times the keys, at least those of `any`.
template <class KV, int R>
inline void key_scores(const AttentionArgs& a, const Queries& x, const uint8_t* keys, ChunkRange any, float* e) {
    for (int g = first_group(any); g < last_group(any); g++) {
        f32x16 s[R];
        for (int r = 0; r < R; r++) s[r] = set1(0);
        const auto* column = (const typename KV::Element*)keys + int64_t(g) * a.head_dim * kLanes;
        for (int i = 0; i < a.head_dim; i++) {
            const f32x16 k = KV::load16(column + int64_t(i) * kLanes);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) s[r] = fma(set1(x.q[r * x.stride + i]), k, s[r]);
        }
        for (int r = 0; r < R; r++) store(e + r * kPageTokens + g * kLanes, s[r]);
    }
}

template <int R>
inline void byte_key_scores(const AttentionArgs&, const Queries& x, const uint8_t* keys, ChunkRange any, float* e) {
    using Keys = Packed<Q8_0::Codes, Q8_0::Scales>;
    const int64_t blocks = x.stride / kBlock;
    for (int g = first_group(any); g < last_group(any); g++) {
        f32x16 s[R];
        const int64_t bytes = ByteStore::packed_q8_0_bytes(blocks);
        const Keys rows(keys + g * bytes, blocks, size_t(bytes));
        direct_tile<Q8_0::Dot, /*kHasMin=*/false, R>(rows, blocks, x.quantized, s);
        for (int r = 0; r < R; r++) store(e + r * kPageTokens + g * kLanes, s[r]);
    }
}

template <class Rows, int R>
inline void row_scores(const AttentionArgs& a, const Queries& x, const uint8_t* keys, ChunkRange any, float* e) {
    const Rows rows(keys, a.head_dim, x.scales);
    for (int j = any.first; j < any.last; j++) {
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

// o (R, padded value_dim) = e times the values of `any`.
template <class Rows, int R>
inline void chunk_values(const AttentionArgs& a, const Queries& x, const float* e, const uint8_t* values,
                         ChunkRange any, float* o) {
    const Rows rows(values, a.latent ? a.head_dim : a.value_dim, x.scales);
    const int64_t n = round_up(a.value_dim, kLanes);
    for (int64_t i = 0; i < n; i += kLanes) {
        f32x16 acc[R];
        for (int r = 0; r < R; r++) acc[r] = set1(0);
        for (int j = any.first; j < any.last; j++) {
            const f32x16 v = rows.load16(j, i);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) acc[r] = fma(set1(e[r * kPageTokens + j]), v, acc[r]);
        }
        for (int r = 0; r < R; r++) store(o + r * n + i, acc[r]);
    }
}

// The products for one way of storing and one number of rows.
struct ChunkKernels {
    void (*scores)(const AttentionArgs& a, const Queries& x, const uint8_t* keys, ChunkRange any, float* e);
    void (*values)(const AttentionArgs& a, const Queries& x, const float* e, const uint8_t* values, ChunkRange any,
                   float* o);
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
