#include "formats/pack.h"

#include <stdexcept>

#include "formats/blocks.h"
#include "formats/half.h"

namespace pyruntime::formats {

namespace {

constexpr int kRows = 16;

// Where the arrays of a quantized group lie.
struct Group {
    uint8_t* q;
    uint16_t* d;
    uint16_t* m;
};

Group quantized_group(uint8_t* group, size_t blocks, size_t q_bytes) {
    auto* d = reinterpret_cast<uint16_t*>(group + q_bytes * blocks);
    return {group, d, d + kRows * blocks};
}

template <class Block>
Block read_block(const uint8_t* src, size_t index) {
    Block block;
    std::memcpy(&block, src + index * sizeof(Block), sizeof(Block));
    return block;
}

// Four columns at a time: byte c of word w holds elements 4w + c (low nibble) and 16 + 4w + c (high nibble) of a block.
template <class Block>
void pack_nibbles(const Block& block, int r, uint8_t* q) {
    constexpr uint32_t low = 0x0f0f0f0f;
    uint32_t w[4];
    std::memcpy(w, block.q, sizeof w);
    const uint32_t pairs[4] = {(w[0] & low) | (w[1] & low) << 4, (w[2] & low) | (w[3] & low) << 4,
                               (w[0] >> 4 & low) | (w[1] & ~low), (w[2] >> 4 & low) | (w[3] & ~low)};
    for (int j = 0; j < 4; j++) std::memcpy(q + 64 * j + 4 * r, &pairs[j], 4);
}

template <class Block, class Place>
BadValue pack_blocks(const uint8_t* src, int n_rows, size_t blocks, Place place) {
    for (int r = 0; r < n_rows; r++)
        for (size_t b = 0; b < blocks; b++)
            if (!place(read_block<Block>(src, r * blocks + b), r, b)) return {r, 32 * b};
    return {};
}

template <class Finite>
BadValue pack_u16(const uint8_t* src, int n_rows, size_t cols, uint8_t* group, Finite finite) {
    auto* to = reinterpret_cast<uint16_t*>(group);
    for (int r = 0; r < n_rows; r++)
        for (size_t k = 0; k < cols; k++) {
            uint16_t h;
            std::memcpy(&h, src + 2 * (r * cols + k), 2);
            if (!finite(h)) return {r, k};
            to[kRows * k + r] = h;
        }
    return {};
}

BadValue pack_f32(const uint8_t* src, int n_rows, size_t cols, uint8_t* group) {
    auto* to = reinterpret_cast<float*>(group);
    for (int r = 0; r < n_rows; r++)
        for (size_t k = 0; k < cols; k++) {
            uint32_t bits;
            std::memcpy(&bits, src + 4 * (r * cols + k), 4);
            if ((bits & 0x7f800000) == 0x7f800000) return {r, k};
            to[kRows * k + r] = from_bits(bits);
        }
    return {};
}

}  // namespace

size_t group_bytes(uint32_t type, size_t cols) {
    const size_t blocks = cols / 32;
    size_t n = 0;
    switch (type) {
        case Q4_0:
            n = blocks * (256 + 32);
            break;
        case Q4_1:
            n = blocks * (256 + 64);
            break;
        case Q8_0:
            n = blocks * (512 + 32);
            break;
        case F16:
        case BF16:
            n = cols * 32;
            break;
        case F32:
            n = cols * 64;
            break;
        default:
            throw std::invalid_argument("group_bytes: unsupported type");
    }
    return (n + 63) / 64 * 64;
}

BadValue pack_group(uint32_t type, const uint8_t* src, int n_rows, size_t cols, uint8_t* group) {
    const size_t blocks = cols / 32;
    if (n_rows < kRows) std::memset(group, 0, group_bytes(type, cols));
    switch (type) {
        case Q4_0: {
            const Group g = quantized_group(group, blocks, 256);
            return pack_blocks<BlockQ4_0>(src, n_rows, blocks, [&](const BlockQ4_0& block, int r, size_t b) {
                pack_nibbles(block, r, g.q + 256 * b);
                g.d[kRows * b + r] = block.d;
                return half_is_finite(block.d);
            });
        }
        case Q4_1: {
            const Group g = quantized_group(group, blocks, 256);
            return pack_blocks<BlockQ4_1>(src, n_rows, blocks, [&](const BlockQ4_1& block, int r, size_t b) {
                pack_nibbles(block, r, g.q + 256 * b);
                g.d[kRows * b + r] = block.d;
                g.m[kRows * b + r] = block.m;
                return half_is_finite(block.d) && half_is_finite(block.m);
            });
        }
        case Q8_0: {
            const Group g = quantized_group(group, blocks, 512);
            return pack_blocks<BlockQ8_0>(src, n_rows, blocks, [&](const BlockQ8_0& block, int r, size_t b) {
                for (int k = 0; k < 8; k++) std::memcpy(g.q + 512 * b + 64 * k + 4 * r, block.q + 4 * k, 4);
                g.d[kRows * b + r] = block.d;
                return half_is_finite(block.d);
            });
        }
        case F16:
            return pack_u16(src, n_rows, cols, group, half_is_finite);
        case BF16:
            return pack_u16(src, n_rows, cols, group, bf16_is_finite);
        case F32:
            return pack_f32(src, n_rows, cols, group);
        default:
            throw std::invalid_argument("pack_group: unsupported type");
    }
}

void unpack_row(uint32_t type, const uint8_t* group, int row, size_t cols, float* dst) {
    const size_t blocks = cols / 32;
    const auto* halves = reinterpret_cast<const uint16_t*>(group);
    // Column i of a block of nibbles: step pair i / 8, low half of the pair first.
    const auto nibble_at = [&](size_t b, int i) {
        const int byte = group[256 * b + 64 * (i / 8) + 4 * row + i % 4];
        return i % 8 < 4 ? byte & 15 : byte >> 4;
    };
    switch (type) {
        case Q4_0: {
            const auto* d = reinterpret_cast<const uint16_t*>(group + 256 * blocks);
            for (size_t b = 0; b < blocks; b++)
                for (int i = 0; i < 32; i++)
                    dst[32 * b + i] = half_to_float(d[kRows * b + row]) * float(nibble_at(b, i) - 8);
            return;
        }
        case Q4_1: {
            const auto* d = reinterpret_cast<const uint16_t*>(group + 256 * blocks);
            const auto* m = d + kRows * blocks;
            for (size_t b = 0; b < blocks; b++)
                for (int i = 0; i < 32; i++)
                    dst[32 * b + i] =
                        half_to_float(d[kRows * b + row]) * float(nibble_at(b, i)) + half_to_float(m[kRows * b + row]);
            return;
        }
        case Q8_0: {
            const auto* d = reinterpret_cast<const uint16_t*>(group + 512 * blocks);
            for (size_t b = 0; b < blocks; b++)
                for (int i = 0; i < 32; i++)
                    dst[32 * b + i] = float(int8_t(group[512 * b + 64 * (i / 4) + 4 * row + i % 4])) *
                                      half_to_float(d[kRows * b + row]);
            return;
        }
        case F16:
            for (size_t k = 0; k < cols; k++) dst[k] = half_to_float(halves[kRows * k + row]);
            return;
        case BF16:
            for (size_t k = 0; k < cols; k++) dst[k] = bf16_to_float(halves[kRows * k + row]);
            return;
        case F32:
            for (size_t k = 0; k < cols; k++) dst[k] = reinterpret_cast<const float*>(group)[kRows * k + row];
            return;
        default:
            throw std::invalid_argument("unpack_row: unsupported type");
    }
}

}  // namespace pyruntime::formats
