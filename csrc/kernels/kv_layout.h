// How keys and values lie in a page of the KV cache: the engine lays pages out by it, the kernels fill and read them.
// Of one layer and kv head:
//   keys     [4 groups][head_dim][16 positions], so that a lane is a position
//   values   [64 positions][value_dim padded to whole vectors], so that a lane is an element
// or, of a latent cache, one row that is key and value:
//   rows     [64 positions][head_dim padded to whole vectors]
// In q8_0 both are padded to blocks of 32, each int8 with a scale in binary16:
//   keys     [4 groups], each as a packed Q8_0 weight of 16 rows (formats/pack.h)
//   values and rows   [64 positions][padded] int8, then [blocks][64 positions] scales
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace pyruntime {

constexpr int kLanes = 16;       // float lanes of a vector; rows of a weight group
constexpr int kBlock = 32;       // activations, or elements of a q8_0 cache, that share a scale
constexpr int kPageTokens = 64;  // positions of a KV page, and of a chunk of attention

enum class KVType { f32, f16, q8_0 };

static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Elements of a row as it is stored.
static inline int64_t kv_padded(KVType type, int64_t dim) {
    return round_up(dim, type == KVType::q8_0 ? kBlock : kLanes);
}
static inline size_t kv_row_bytes(KVType type, int64_t dim) {  // of values, or of a latent cache
    const size_t n = size_t(kPageTokens * kv_padded(type, dim));
    return type == KVType::f32 ? 4 * n : type == KVType::f16 ? 2 * n : n + 2 * n / kBlock;
}
static inline size_t kv_key_bytes(KVType type, int64_t head_dim) {
    if (type == KVType::q8_0) return kv_row_bytes(type, head_dim);
    return size_t(kPageTokens * head_dim) * (type == KVType::f16 ? 2 : 4);
}

}  // namespace pyruntime
