// A page of the KV cache as the checks read it: the layout in words is in kernels/kv_layout.h, and none of its formulas
// is used here.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "check.h"
#include "kernels/table.h"
#include "reference.h"

namespace kernel_check {

using pyruntime::KVStoreArgs;
using pyruntime::KVType;

// What a layer keeps of a position. Where it is latent, a row of head_dim is the key, and its beginning the value.
struct KVShape {
    int n_heads, head_dim, value_dim;
    KVType type;
    bool latent = false;

    std::string name() const {
        static constexpr const char* kNames[] = {"f32", "f16", "q8_0"};
        return text("heads %d dims %d %d %s%s", n_heads, head_dim, value_dim, kNames[int(type)],
                    latent ? " latent" : "");
    }
};

// Where an element lies in a page, and, in q8_0, the scale of its block.
struct Place {
    size_t at, scale;
};

// Where the heads of one layer lie in a page, after another layer's bytes, which no kernel may touch.
class PageLayout {
  public:
    explicit PageLayout(const KVShape& shape)
        : shape_(shape),
          element_(shape.type == KVType::f32   ? 4
                   : shape.type == KVType::f16 ? 2
                                               : 1),
          key_head_bytes(shape.latent ? rows_bytes(shape.head_dim) : keys_bytes(shape.head_dim)),
          value_head_bytes(shape.latent ? 0 : rows_bytes(shape.value_dim)),
          value_offset(shape.latent ? key_offset : key_offset + size_t(shape.n_heads) * key_head_bytes + kOther),
          bytes(value_offset + size_t(shape.n_heads) * (shape.latent ? key_head_bytes : value_head_bytes)) {}

    // Elements of a key, or a value, as it is stored; from head_dim on they are zeros.
    int stored_key() const { return shape_.latent || bytes_only() ? int(padded(shape_.head_dim)) : shape_.head_dim; }
    int stored_value() const { return shape_.latent ? 0 : int(padded(shape_.value_dim)); }

    Place key(int head, int slot, int i) const {
        const size_t start = key_offset + size_t(head) * key_head_bytes;
        if (shape_.latent) return in_rows(start, shape_.head_dim, slot, i);
        const size_t group = size_t(slot / 16), lane = size_t(slot % 16), n = size_t(i);
        if (!bytes_only()) return {start + ((group * size_t(shape_.head_dim) + n) * 16 + lane) * element_, 0};
        const size_t blocks = padded(shape_.head_dim) / 32, from = start + group * blocks * (512 + 32);
        return {from + n / 4 * 64 + lane * 4 + n % 4, from + blocks * 512 + (n / 32 * 16 + lane) * 2};
    }
    // Of a latent cache, an element of the key.
    Place value(int head, int slot, int i) const {
        if (shape_.latent) return key(head, slot, i);
        return in_rows(value_offset + size_t(head) * value_head_bytes, shape_.value_dim, slot, i);
    }
    double read(const uint8_t* page, Place p) const {
        if (bytes_only()) return int8_t(page[p.at]) * half(page + p.scale);
        if (element_ == 2) return half(page + p.at);
        float f;
        std::memcpy(&f, page + p.at, 4);
        return f;
    }

    KVStoreArgs store_args() const {
        KVStoreArgs a = {};
        a.n_kv_heads = shape_.n_heads;
        a.head_dim = shape_.head_dim;
        a.value_dim = shape_.value_dim;
        a.key_offset = key_offset;
        a.value_offset = value_offset;
        a.key_head_bytes = key_head_bytes;
        a.value_head_bytes = value_head_bytes;
        a.type = shape_.type;
        a.latent = shape_.latent;
        return a;
    }
    size_t element() const { return element_; }
    bool bytes_only() const { return element_ == 1; }

  private:
    size_t padded(int dim) const { return size_t(bytes_only() ? (dim + 31) / 32 * 32 : (dim + 15) / 16 * 16); }
    size_t rows_bytes(int dim) const {
        return 64 * padded(dim) * element_ + (bytes_only() ? padded(dim) / 32 * 128 : 0);
    }
    size_t keys_bytes(int dim) const { return bytes_only() ? rows_bytes(dim) : 64 * size_t(dim) * element_; }
    Place in_rows(size_t start, int dim, int slot, int i) const {
        return {start + (size_t(slot) * padded(dim) + size_t(i)) * element_,
                start + 64 * padded(dim) + size_t(i / 32 * 64 + slot) * 2};
    }
    static double half(const uint8_t* p) {
        uint16_t h;
        std::memcpy(&h, p, 2);
        return half_to_double(h);
    }

    static constexpr size_t kOther = 256;
    KVShape shape_;
    size_t element_;

  public:
    size_t key_head_bytes, value_head_bytes, key_offset = kOther, value_offset, bytes;
};

}  // namespace kernel_check
