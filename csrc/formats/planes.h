// How the codes of 32 columns and 16 rows lie in a group: bit planes, so that a step of the kernels (4 columns of 16
// rows, 64 bytes) is a shift and a mask away from aligned 64-byte loads.
//
// A plane of width W holds W bits of each code; a byte holds F = 8 / W of them, those of steps that follow each other.
// Byte 64 (k / F) + 4 r + c has, at bit W (k % F), the code of row r, column 4k + c. Codes of 5 bits are a plane of 4
// and one of 1: 256 + 64 bytes; codes of 6 a plane of 4 and one of 2, and so on. The low bits come first.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pyruntime::formats {

constexpr size_t kGroupRows = 16;

template <int kLow, int kHigh = 0>
struct Planes {
    static constexpr size_t kBytes = 64 * (kLow + kHigh);  // of 32 columns

    // The codes of 32 columns of row r.
    static void put(const uint8_t* codes, size_t r, uint8_t* at) {
        uint32_t w[8];
        std::memcpy(w, codes, sizeof w);
        put_plane<kLow, 0>(w, r, at);
        if constexpr (kHigh > 0) put_plane<kHigh, kLow>(w, r, at + 64 * kLow);
    }
    static void get(const uint8_t* at, size_t r, uint8_t* codes) {
        uint32_t w[8] = {};
        get_plane<kLow, 0>(at, r, w);
        if constexpr (kHigh > 0) get_plane<kHigh, kLow>(at + 64 * kLow, r, w);
        std::memcpy(codes, w, sizeof w);
    }

  private:
    // Four codes a word: the same bits of each byte.
    static constexpr uint32_t mask(int width) { return ((1u << width) - 1) * 0x01010101u; }

    template <int kWidth, int kShift>
    static void put_plane(const uint32_t* w, size_t r, uint8_t* at) {
        constexpr int n = 8 / kWidth;
        for (int i = 0; i < kWidth; i++) {
            uint32_t word = 0;
            for (int f = 0; f < n; f++) word |= (w[n * i + f] >> kShift & mask(kWidth)) << kWidth * f;
            std::memcpy(at + 64 * i + 4 * r, &word, 4);
        }
    }
    template <int kWidth, int kShift>
    static void get_plane(const uint8_t* at, size_t r, uint32_t* w) {
        constexpr int n = 8 / kWidth;
        for (int i = 0; i < kWidth; i++) {
            uint32_t word;
            std::memcpy(&word, at + 64 * i + 4 * r, 4);
            for (int f = 0; f < n; f++) w[n * i + f] |= (word >> kWidth * f & mask(kWidth)) << kShift;
        }
    }
};

}  // namespace pyruntime::formats
