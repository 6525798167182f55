// How keys and values lie in a page of the KV cache: the engine lays pages out by it, the kernels fill and read them.
// Of one layer and kv head:
//   keys     [4 groups][head_dim][16 positions], so that a lane is a position
//   values   [64 positions][value_dim padded to whole vectors], so that a lane is an element
// or, of a latent cache, one row that is key and value:
//   rows     [64 positions][head_dim padded to whole vectors]
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace pyruntime {

constexpr int kLanes = 16;       // float lanes of a vector; rows of a weight group
constexpr int kPageTokens = 64;  // positions of a KV page, and of a chunk of attention

enum class KVType { f32, f16 };

static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static inline int64_t kv_padded(int64_t dim) { return round_up(dim, kLanes); }
static inline size_t kv_element_bytes(KVType type) { return type == KVType::f16 ? 2 : 4; }
static inline size_t kv_key_bytes(KVType type, int64_t head_dim) {
    return size_t(kPageTokens * head_dim) * kv_element_bytes(type);
}
static inline size_t kv_row_bytes(KVType type, int64_t dim) {  // of values, or of a latent cache
    return size_t(kPageTokens * kv_padded(dim)) * kv_element_bytes(type);
}

}  // namespace pyruntime
