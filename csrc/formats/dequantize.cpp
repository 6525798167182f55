#include <stdexcept>

#include "formats/blocks.h"
#include "formats/formats.h"
#include "formats/half.h"

namespace pyruntime::formats {

namespace {

// Files do not align blocks, so each one is copied before it is read.
template <class Block, class Value>
void each_block(const uint8_t* src, size_t n, float* dst, Value value) {
    for (size_t b = 0; b < n / 32; b++) {
        Block block;
        std::memcpy(&block, src + b * sizeof(Block), sizeof(Block));
        value(block, dst + 32 * b);
    }
}

template <class Block, class Value>
void each_nibble(const uint8_t* src, size_t n, float* dst, Value value) {
    each_block<Block>(src, n, dst, [&](const Block& block, float* out) {
        for (int i = 0; i < 16; i++) {
            out[i] = value(block, block.q[i] & 15);
            out[i + 16] = value(block, block.q[i] >> 4);
        }
    });
}

template <class Widen>
void each_u16(const uint8_t* src, size_t n, float* dst, Widen widen) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        std::memcpy(&h, src + 2 * i, 2);
        dst[i] = widen(h);
    }
}

}  // namespace

void dequantize(uint32_t type, const uint8_t* src, size_t n, float* dst) {
    switch (type) {
        case F32:
            std::memcpy(dst, src, n * 4);
            return;
        case F16:
            return each_u16(src, n, dst, half_to_float);
        case BF16:
            return each_u16(src, n, dst, bf16_to_float);
        case Q4_0:
            return each_nibble<BlockQ4_0>(src, n, dst,
                                          [](const BlockQ4_0& b, int q) { return half_to_float(b.d) * float(q - 8); });
        case Q4_1:
            return each_nibble<BlockQ4_1>(src, n, dst, [](const BlockQ4_1& b, int q) {
                return half_to_float(b.d) * float(q) + half_to_float(b.m);
            });
        case Q8_0:
            return each_block<BlockQ8_0>(src, n, dst, [](const BlockQ8_0& b, float* out) {
                for (int i = 0; i < 32; i++) out[i] = float(b.q[i]) * half_to_float(b.d);
            });
        default:
            throw std::invalid_argument("dequantize: unsupported type");
    }
}

}  // namespace pyruntime::formats
