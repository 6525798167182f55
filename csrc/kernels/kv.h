// One token's keys and values into a page, and the rows of a page as floats (kv_layout.h draws them).
#pragma once

namespace pyruntime {
namespace {

inline int rest_of(int dim, int i, int most) { return dim - i < most ? dim - i : most; }

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

// Caches of floats.
template <class KV>
struct FloatStore {
    using Element = typename KV::Element;
    static void key(const float* k, int head_dim, int slot, uint8_t* keys) {
        Element* column = (Element*)keys + int64_t(slot / kLanes) * head_dim * kLanes + slot % kLanes;
        for (int i = 0; i < head_dim; i += kLanes) {
            const int left = rest_of(head_dim, i, kLanes);
            Element narrow[kLanes];
            KV::store16(narrow, load_partial(k + i, left));
            for (int l = 0; l < left; l++) column[int64_t(i + l) * kLanes] = narrow[l];
        }
    }
    static void row(const float* x, int dim, int slot, uint8_t* rows) {
        Element* to = (Element*)rows + int64_t(slot) * round_up(dim, kLanes);
        for (int i = 0; i < dim; i += kLanes) KV::store16(to + i, load_partial(x + i, rest_of(dim, i, kLanes)));
    }
};

// A block of 32 int8 and its scale; what is missing from the last block counts as zeros.
struct ByteBlock {
    ByteBlock(const float* x, int n) {
        float padded[kBlock];
        store(padded, load_partial(x, n < kLanes ? n : kLanes));
        store(padded + kLanes, n > kLanes ? load_partial(x + kLanes, n - kLanes) : set1(0));
        float scale, e;
        BlockSums sums;
        quantize(padded, kBlock, q, &scale, &e, &sums);
        uint16_t lanes[kLanes];
        store_f16(lanes, set1(scale));
        d = lanes[0];
    }
    int8_t q[kBlock];
    uint16_t d;
};

struct ByteStore {
    static void key(const float* k, int head_dim, int slot, uint8_t* keys) {
        const int64_t blocks = round_up(head_dim, kBlock) / kBlock;
        const int lane = slot % kLanes;
        uint8_t* group = keys + slot / kLanes * packed_q8_0_bytes(blocks);
        uint16_t* scales = (uint16_t*)(group + blocks * kBlock * kLanes);
        for (int64_t b = 0; b < blocks; b++) {
            const ByteBlock block(k + b * kBlock, rest_of(head_dim, int(b * kBlock), kBlock));
            uint8_t* to = group + b * kBlock * kLanes + 4 * lane;
            for (int i = 0; i < kBlock; i += 4) __builtin_memcpy(to + i * kLanes, block.q + i, 4);
            scales[b * kLanes + lane] = block.d;
        }
    }
    static void row(const float* x, int dim, int slot, uint8_t* rows) {
        const int64_t padded = round_up(dim, kBlock);
        uint16_t* scales = (uint16_t*)(rows + padded * kPageTokens);
        for (int64_t b = 0; b < padded / kBlock; b++) {
            const ByteBlock block(x + b * kBlock, rest_of(dim, int(b * kBlock), kBlock));
            __builtin_memcpy(rows + slot * padded + b * kBlock, block.q, kBlock);
            scales[b * kPageTokens + slot] = block.d;
        }
    }
    static int64_t packed_q8_0_bytes(int64_t blocks) { return blocks * kLanes * (kBlock + 2); }
};

// Rows of a page as floats: 16 elements from i on of the row of position j.
template <class KV>
struct FloatRows {
    FloatRows(const uint8_t* rows, int64_t dim, float*)
        : at((const typename KV::Element*)rows), stride(round_up(dim, kLanes)) {}
    f32x16 load16(int64_t j, int64_t i) const { return KV::load16(at + j * stride + i); }
    const typename KV::Element* at;
    int64_t stride;
};
struct ByteRows {
    // `widened` takes the scales, (blocks, 64).
    ByteRows(const uint8_t* rows, int64_t dim, float* widened)
        : at((const int8_t*)rows), stride(round_up(dim, kBlock)), d(widened) {
        const uint16_t* scales = (const uint16_t*)(rows + stride * kPageTokens);
        for (int64_t i = 0; i < stride / kBlock * kPageTokens; i += kLanes) store(widened + i, load_f16(scales + i));
    }
    // Exact: 7 bits times 11.
    f32x16 load16(int64_t j, int64_t i) const {
        return mul(to_float(load_i8(at + j * stride + i)), set1(d[i / kBlock * kPageTokens + j]));
    }
    const int8_t* at;
    int64_t stride;
    const float* d;
};

template <class Store>
inline void store_heads(const KVStoreArgs& a) {
    for (int h = 0; h < a.n_kv_heads; h++) {
        const float* k = a.k + int64_t(h) * a.head_dim;
        uint8_t* keys = a.page + a.key_offset + size_t(h) * a.key_head_bytes;
        if (a.latent) {
            Store::row(k, a.head_dim, a.slot, keys);
            continue;
        }
        Store::key(k, a.head_dim, a.slot, keys);
        Store::row(a.v + int64_t(h) * a.value_dim, a.value_dim, a.slot,
                   a.page + a.value_offset + size_t(h) * a.value_head_bytes);
    }
}

inline void kv_store(const KVStoreArgs& a) {
    switch (a.type) {
        case KVType::f32:
            return store_heads<FloatStore<FloatKV>>(a);
        case KVType::f16:
            return store_heads<FloatStore<HalfKV>>(a);
        case KVType::q8_0:
            return store_heads<ByteStore>(a);
    }
}

}  // namespace
}  // namespace pyruntime
