// Storing one token's keys and values in a page (kv_layout.h draws it), and reading them back as floats.
#pragma once

namespace pyruntime {
namespace {

struct HalfKV {
    using Element = uint16_t;
    static f32x16 load16(const uint16_t* p) { return load_f16(p); }
    static void store16(uint16_t* p, f32x16 x) { store_f16(p, x); }
};
struct FloatKV {
    using Element = float;
    static f32x16 load16(const float* p) { return load(p); }
    static void store16(float* p, f32x16 x) { store(p, x); }
};

template <class KV>
inline void store_key(const float* k, int head_dim, int slot, uint8_t* keys) {
    auto* column = (typename KV::Element*)keys + int64_t(slot / kLanes) * head_dim * kLanes + slot % kLanes;
    for (int i = 0; i < head_dim; i += kLanes) {
        const int left = head_dim - i < kLanes ? head_dim - i : kLanes;
        typename KV::Element narrow[kLanes];
        KV::store16(narrow, load_partial(k + i, left));
        for (int l = 0; l < left; l++) column[int64_t(i + l) * kLanes] = narrow[l];
    }
}

template <class KV>
inline void store_value(const float* v, int value_dim, int slot, uint8_t* values) {
    auto* row = (typename KV::Element*)values + int64_t(slot) * kv_padded(value_dim);
    for (int i = 0; i < value_dim; i += kLanes)
        KV::store16(row + i, load_partial(v + i, value_dim - i < kLanes ? value_dim - i : kLanes));
}

template <class KV>
inline void store_heads(const KVStoreArgs& a) {
    for (int h = 0; h < a.n_kv_heads; h++) {
        store_key<KV>(a.k + int64_t(h) * a.head_dim, a.head_dim, a.slot,
                      a.page + a.key_offset + size_t(h) * a.key_head_bytes);
        store_value<KV>(a.v + int64_t(h) * a.value_dim, a.value_dim, a.slot,
                        a.page + a.value_offset + size_t(h) * a.value_head_bytes);
    }
}

inline void kv_store(const KVStoreArgs& a) {
    if (a.type == KVType::f16)
        store_heads<HalfKV>(a);
    else
        store_heads<FloatKV>(a);
}

}  // namespace
}  // namespace pyruntime
