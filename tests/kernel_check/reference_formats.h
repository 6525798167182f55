// The quantized formats element by element, in float64, from the bytes of a file: written down from the tables of
// docs/numerics.md, apart from csrc/formats, which says the same another way.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "formats/types.h"
#include "reference.h"

namespace kernel_check {

// 32 weights: w[i] = d * scale[i / 16] * q[i] + m * min[i / 16].
struct Block {
    double d = 0, m = 0;
    std::array<int, 2> scale = {1, 1}, min = {1, 1};
    std::array<int, 32> q = {};
};

// Where the binary16 numbers of a block lie, in bytes.
inline std::vector<int> half_offsets(uint32_t type) {
    namespace formats = pyruntime::formats;
    switch (type) {
        case formats::Q4_1:
        case formats::Q5_1:
        case formats::Q4_K:
        case formats::Q5_K:
            return {0, 2};
        case formats::Q2_K:
            return {80, 82};
        case formats::Q3_K:
            return {108};
        case formats::Q6_K:
            return {208};
        case formats::MXFP4:
            return {};
        default:
            return {0};
    }
}

// Part b of 32 elements of a block of 256; p: the block's bytes.
inline Block read_k_block(uint32_t type, const uint8_t* p, int b) {
    namespace formats = pyruntime::formats;
    Block out;
    const auto half = [&](int at) { return half_to_double(uint16_t(p[at] | p[at + 1] << 8)); };
    const auto low = [](int byte) { return byte & 15; };
    const auto high = [](int byte) { return byte >> 4; };
    const auto each = [&](auto code) {
        for (int i = 0; i < 32; i++) out.q[size_t(i)] = code(i);
    };
    const auto two_bits = [&](int at, int i) { return p[at + 32 * (b / 4) + i] >> 2 * (b % 4) & 3; };
    switch (type) {
        case formats::Q2_K:
            out.d = half(80);
            out.m = -half(82);
            out.scale = {low(p[2 * b]), low(p[2 * b + 1])};
            out.min = {high(p[2 * b]), high(p[2 * b + 1])};
            each([&](int i) { return two_bits(16, i); });
            break;
        case formats::Q3_K: {
            out.d = half(108);
            const uint8_t* s = p + 96;
            for (int j = 2 * b; j < 2 * b + 2; j++)
                out.scale[size_t(j % 2)] =
                    (j < 8 ? low(s[j]) : high(s[j - 8])) + 16 * (s[8 + j % 4] >> 2 * (j / 4) & 3) - 32;
            each([&](int i) { return two_bits(32, i) - (p[i] >> b & 1 ? 0 : 4); });
            break;
        }
        case formats::Q4_K:
        case formats::Q5_K: {
            const uint8_t* s = p + 4;
            const int scale = b < 4 ? s[b] & 63 : low(s[b + 4]) + 16 * (s[b - 4] >> 6);
            const int min = b < 4 ? s[b + 4] & 63 : high(s[b + 4]) + 16 * (s[b] >> 6);
            out.d = half(0) * scale;
            out.m = -half(2) * min;
            const uint8_t* q = p + (type == formats::Q4_K ? 16 : 48) + 32 * (b / 2);
            each([&](int i) {
                const int fifth = type == formats::Q5_K ? p[16 + i] >> b & 1 : 0;
                return (b % 2 ? high(q[i]) : low(q[i])) + 16 * fifth;
            });
            break;
        }
        case formats::Q6_K:
            out.d = half(208);
            out.scale = {int8_t(p[192 + 2 * b]), int8_t(p[192 + 2 * b + 1])};
            each([&](int i) {
                const uint8_t byte = p[64 * (b / 4) + 32 * (b % 2) + i];
                return (b % 4 < 2 ? low(byte) : high(byte)) + 16 * two_bits(128, i) - 32;
            });
            break;
        default: {  // IQ4_XS
            const int scale_low = b % 2 ? high(p[4 + b / 2]) : low(p[4 + b / 2]);
            out.d = half(0) * (scale_low + 16 * ((p[2] | p[3] << 8) >> 2 * b & 3) - 32);
            each([&](int i) { return int(i < 16 ? low(p[8 + 16 * b + i]) : high(p[8 + 16 * b + i - 16])); });
        }
    }
    return out;
}

// Block b, of 32 elements, of a row.
inline Block read_block(uint32_t type, const uint8_t* row, int64_t b) {
    namespace formats = pyruntime::formats;
    static constexpr int kIQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    static constexpr double kE2M1[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    const formats::TypeInfo info = *formats::find_type(type);
    const bool nonlinear = type == formats::IQ4_NL || type == formats::IQ4_XS;
    Block out;
    if (info.n_block == 256) {
        out = read_k_block(type, row + b / 8 * info.n_bytes, int(b % 8));
    } else {
        const uint8_t* p = row + b * info.n_bytes;
        const std::vector<int> halves = half_offsets(type);
        const auto half = [&](size_t n) { return half_to_double(uint16_t(p[halves[n]] | p[halves[n] + 1] << 8)); };
        out.d = type == formats::MXFP4 ? std::ldexp(1.0, p[0] - 128) : half(0);
        if (halves.size() > 1) out.m = half(1);
        const uint8_t* q = p + info.n_bytes - (type == formats::Q8_0 ? 32 : 16);
        const bool five = type == formats::Q5_0 || type == formats::Q5_1;
        const int offset = type == formats::Q4_0 ? 8 : type == formats::Q5_0 ? 16 : 0;
        for (int i = 0; i < 32; i++) {
            const int nibble = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
            const int fifth = five ? q[i / 8 - 4] >> i % 8 & 1 : 0;  // the four bytes before
            out.q[size_t(i)] = type == formats::Q8_0 ? int8_t(q[i]) : nibble + 16 * fifth - offset;
        }
    }
    for (int& q : out.q) {
        if (nonlinear) q = kIQ4[q];
        if (type == formats::MXFP4) q = int(2 * kE2M1[q & 7]) * (q & 8 ? -1 : 1);
    }
    return out;
}

}  // namespace kernel_check
