#include "formats/pack.h"

#include "formats/half.h"
#include "formats/quantized.h"

namespace pyruntime::formats {

namespace {

// The arrays of scales of a group, one for each field of the format's Scales. n: blocks of a row. fn(array, field,
// offset of the field in Scales) for each.
template <class Format, class Group, class Fn>
void each_field(Group* group, size_t cols, const Fn& fn) {
    Group* array = group + Format::Codes::kBytes * (cols / 32);
    size_t offset = 0;
    for (const Field& field : Format::kFields) {
        fn(array, field, offset);
        array += kGroupRows * field.n_bytes * field.count * (cols / Format::kElements);
        offset += field.n_bytes * field.count;
    }
}

// Where scale i of a block of row r is.
size_t scale_at(const Field& field, size_t block, size_t i, size_t r) {
    return ((block * field.count + i) * kGroupRows + r) * field.n_bytes;
}

template <class Format>
void put_scales(const typename Format::Scales& scales, uint8_t* group, size_t cols, size_t block, size_t r) {
    each_field<Format>(group, cols, [&](uint8_t* array, const Field& field, size_t offset) {
        const auto* from = reinterpret_cast<const uint8_t*>(&scales) + offset;
        for (size_t i = 0; i < field.count; i++)
            std::memcpy(array + scale_at(field, block, i, r), from + i * field.n_bytes, field.n_bytes);
    });
}

template <class Format>
typename Format::Scales get_scales(const uint8_t* group, size_t cols, size_t block, size_t r) {
    typename Format::Scales scales;
    each_field<Format>(group, cols, [&](const uint8_t* array, const Field& field, size_t offset) {
        auto* to = reinterpret_cast<uint8_t*>(&scales) + offset;
        for (size_t i = 0; i < field.count; i++)
            std::memcpy(to + i * field.n_bytes, array + scale_at(field, block, i, r), field.n_bytes);
    });
    return scales;
}

template <class Format>
BadValue pack_blocks(const uint8_t* src, int n_rows, size_t cols, uint8_t* group) {
    using Block = typename Format::Block;
    using Codes = typename Format::Codes;
    constexpr size_t n_block = Format::kElements;
    const size_t blocks = cols / n_block;
    uint8_t codes[n_block];
    for (int r = 0; r < n_rows; r++)
        for (size_t b = 0; b < blocks; b++) {
            const Block block = read_block<Block>(src, size_t(r) * blocks + b);
            const auto scales = Format::scales(block);
            if (!Format::finite(scales)) return {r, n_block * b};
            put_scales<Format>(scales, group, cols, b, size_t(r));
            Format::codes(block, codes);
            for (size_t i = 0; i < n_block / 32; i++)
                Codes::put(codes + 32 * i, size_t(r), group + (n_block / 32 * b + i) * Codes::kBytes);
        }
    return {};
}

template <class Finite>
BadValue pack_u16(const uint8_t* src, int n_rows, size_t cols, uint8_t* group, Finite finite) {
    auto* to = reinterpret_cast<uint16_t*>(group);
    for (int r = 0; r < n_rows; r++)
        for (size_t k = 0; k < cols; k++) {
            uint16_t h;
            std::memcpy(&h, src + 2 * (size_t(r) * cols + k), 2);
            if (!finite(h)) return {r, k};
            to[kGroupRows * k + size_t(r)] = h;
        }
    return {};
}

BadValue pack_f32(const uint8_t* src, int n_rows, size_t cols, uint8_t* group) {
    auto* to = reinterpret_cast<float*>(group);
    for (int r = 0; r < n_rows; r++)
        for (size_t k = 0; k < cols; k++) {
            uint32_t bits;
            std::memcpy(&bits, src + 4 * (size_t(r) * cols + k), 4);
            if ((bits & 0x7f800000) == 0x7f800000) return {r, k};
            to[kGroupRows * k + size_t(r)] = from_bits(bits);
        }
    return {};
}

size_t array_bytes(uint32_t type, size_t cols) {
    switch (type) {
        case F16:
        case BF16:
            return cols * kGroupRows * 2;
        case F32:
            return cols * kGroupRows * 4;
        default:
            return with_format(type, [&](auto format) {
                using Format = decltype(format);
                size_t n = 0;  // bytes of a block's scales
                for (const Field& field : Format::kFields) n += field.n_bytes * field.count;
                return Format::Codes::kBytes * (cols / 32) + kGroupRows * n * (cols / Format::kElements);
            });
    }
}

}  // namespace

size_t group_bytes(uint32_t type, size_t cols) { return (array_bytes(type, cols) + 63) / 64 * 64; }

BadValue pack_group(uint32_t type, const uint8_t* src, int n_rows, size_t cols, uint8_t* group) {
    if (size_t(n_rows) < kGroupRows) std::memset(group, 0, group_bytes(type, cols));
    switch (type) {
        case F16:
            return pack_u16(src, n_rows, cols, group, half_is_finite);
        case BF16:
            return pack_u16(src, n_rows, cols, group, bf16_is_finite);
        case F32:
            return pack_f32(src, n_rows, cols, group);
        default:
            return with_format(type,
                               [&](auto format) { return pack_blocks<decltype(format)>(src, n_rows, cols, group); });
    }
}

void unpack_row(uint32_t type, const uint8_t* group, int row, size_t cols, float* dst) {
    const auto* halves = reinterpret_cast<const uint16_t*>(group) + row;
    const auto* floats = reinterpret_cast<const float*>(group) + row;
    switch (type) {
        case F16:
            for (size_t k = 0; k < cols; k++) dst[k] = half_to_float(halves[kGroupRows * k]);
            return;
        case BF16:
            for (size_t k = 0; k < cols; k++) dst[k] = bf16_to_float(halves[kGroupRows * k]);
            return;
        case F32:
            for (size_t k = 0; k < cols; k++) dst[k] = floats[kGroupRows * k];
            return;
        default:
            return with_format(type, [&](auto format) {
                using Format = decltype(format);
                using Codes = typename Format::Codes;
                constexpr size_t n_block = Format::kElements;
                uint8_t codes[n_block];
                for (size_t b = 0; b < cols / n_block; b++) {
                    for (size_t i = 0; i < n_block / 32; i++)
                        Codes::get(group + (n_block / 32 * b + i) * Codes::kBytes, size_t(row), codes + 32 * i);
                    const auto scales = get_scales<Format>(group, cols, b, size_t(row));
                    values<Format>(codes, scales, dst + n_block * b);
                }
            });
    }
}

}  // namespace pyruntime::formats
