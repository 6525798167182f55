// A page of the KV cache as the checks read it: the layout in words is in kernels/kv_layout.h, and none of its formulas
// is used here.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "check.h"
#include "kernels/table.h"
#include "reference.h"

namespace kernel_check {

using pyruntime::KVStoreArgs;
using pyruntime::KVType;

// What a layer keeps of a position.
struct KVShape {
    int n_heads, head_dim, value_dim;
    KVType type;

    std::string name() const {
        static constexpr const char* kNames[] = {"f32", "f16"};
        return text("heads %d dims %d %d %s", n_heads, head_dim, value_dim, kNames[int(type)]);
    }
};

// Where the heads of one layer lie in a page, after another layer's bytes, which no kernel may touch.
class PageLayout {
  public:
    explicit PageLayout(const KVShape& shape)
        : shape_(shape),
          element_(shape.type == KVType::f16 ? 2 : 4),
          value_stride_((shape.value_dim + 15) / 16 * 16),
          key_head_bytes(64 * size_t(shape.head_dim) * element_),
          value_head_bytes(64 * size_t(value_stride_) * element_),
          value_offset(key_offset + size_t(shape.n_heads) * key_head_bytes + kOther),
          bytes(value_offset + size_t(shape.n_heads) * value_head_bytes) {}

    // Byte of element i of the key, or value, at a slot.
    size_t key_at(int head, int slot, int i) const {
        const int group = slot / 16, position = slot % 16;
        return key_offset + size_t(head) * key_head_bytes +
               size_t((group * shape_.head_dim + i) * 16 + position) * element_;
    }
    size_t value_at(int head, int slot, int i) const {
        return value_offset + size_t(head) * value_head_bytes + size_t(slot * value_stride_ + i) * element_;
    }
    double key(const uint8_t* page, int head, int slot, int i) const { return read(page + key_at(head, slot, i)); }
    double value(const uint8_t* page, int head, int slot, int i) const { return read(page + value_at(head, slot, i)); }

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
        return a;
    }
    size_t element() const { return element_; }
    int value_stride() const { return value_stride_; }

  private:
    double read(const uint8_t* p) const {
        if (element_ == 2) {
            uint16_t h;
            std::memcpy(&h, p, 2);
            return half_to_double(h);
        }
        float f;
        std::memcpy(&f, p, 4);
        return f;
    }

    static constexpr size_t kOther = 256;
    KVShape shape_;
    size_t element_;
    int value_stride_;

  public:
    size_t key_head_bytes, value_head_bytes, key_offset = kOther, value_offset, bytes;
};

}  // namespace kernel_check
