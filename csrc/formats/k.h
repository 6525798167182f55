// Formats of blocks of 256 in parts of 32 or 16, each with a scale (and a min) of 4 to 8 bits over one or two binary16.
// A product of the two is exact in binary32. The min is subtracted: a group keeps its binary16 with the sign flipped,
// so that it is added as everywhere else (a - b and a + (-b) are the same bits).
#pragma once
#include "formats/legacy.h"

namespace pyruntime::formats {

inline uint16_t negative(uint16_t half) { return half ^ 0x8000; }

// 6-bit scales and mins of 8 parts in 12 bytes: the first four of each in the low bits of bytes 0..3 and 4..7, the last
// four in the nibbles of bytes 8..11 with their upper two bits on top of bytes 0..3 and 4..7.
inline void split_k_scales(const uint8_t* from, uint8_t* scales, uint8_t* mins) {
    for (int i = 0; i < 4; i++) {
        scales[i] = from[i] & 63;
        mins[i] = from[4 + i] & 63;
        scales[4 + i] = uint8_t((from[8 + i] & 15) | from[i] >> 6 << 4);
        mins[4 + i] = uint8_t(from[8 + i] >> 4 | from[4 + i] >> 6 << 4);
    }
}

// Elements 128 c + 32 k + i: bits 2k and 2k + 1 of byte 32 c + i.
inline void add_two_bits(const uint8_t* from, int shift, uint8_t* codes) {
    for (int row = 0; row < 8; row++)
        for (int i = 0; i < 32; i++)
            codes[32 * row + i] |= uint8_t((from[row / 4 * 32 + i] >> row % 4 * 2 & 3) << shift);
}
// Elements 32 k + i: bit k of byte i.
inline void add_one_bit(const uint8_t* from, int shift, uint8_t* codes) {
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 32; i++) codes[32 * k + i] |= uint8_t((from[i] >> k & 1) << shift);
}

namespace traits {

struct KScaleAndMin {
    struct Scales {
        uint16_t d, m;  // m: the file's, negative
        uint8_t scales[8], mins[8];
    };
    static constexpr Field kFields[] = {{2, 1}, {2, 1}, {1, 8}, {1, 8}};
    static constexpr int kElements = 256, kPart = 32;
    static constexpr bool kHasMin = true;
    static float scale(const Scales& s, int part) { return half_to_float(s.d) * float(s.scales[part]); }
    static float min(const Scales& s, int part) { return half_to_float(s.m) * float(s.mins[part]); }
    static bool finite(const Scales& s) { return half_is_finite(s.d) && half_is_finite(s.m); }
};

struct PartScale {
    struct Scales {
        uint16_t d;
        int8_t scales[16];
    };
    static constexpr Field kFields[] = {{2, 1}, {1, 16}};
    static constexpr int kElements = 256, kPart = 16;
    static constexpr bool kHasMin = false;
    static float scale(const Scales& s, int part) { return half_to_float(s.d) * float(s.scales[part]); }
    static bool finite(const Scales& s) { return half_is_finite(s.d); }
};

struct Q2_K {
    struct Scales {
        uint16_t d, m;            // m: the file's, negative
        uint8_t scales_mins[16];  // low and high nibble
    };
    static constexpr Field kFields[] = {{2, 1}, {2, 1}, {1, 16}};
    static constexpr int kElements = 256, kPart = 16;
    static constexpr bool kHasMin = true;
    static float scale(const Scales& s, int part) { return half_to_float(s.d) * float(s.scales_mins[part] & 15); }
    static float min(const Scales& s, int part) { return half_to_float(s.m) * float(s.scales_mins[part] >> 4); }
    static bool finite(const Scales& s) { return half_is_finite(s.d) && half_is_finite(s.m); }

    using Block = BlockQ2_K;
    using Codes = Planes<2>;
    static void codes(const Block& b, uint8_t* to) {
        std::memset(to, 0, 256);
        add_two_bits(b.q, 0, to);
    }
    static int value(uint8_t code) { return code; }
    static Scales scales(const Block& b) {
        Scales s{b.d, negative(b.m), {}};
        std::memcpy(s.scales_mins, b.scales, 16);
        return s;
    }
};

struct Q3_K : PartScale {
    using Block = BlockQ3_K;
    using Codes = Planes<2, 1>;
    static void codes(const Block& b, uint8_t* to) {
        std::memset(to, 0, 256);
        add_two_bits(b.q, 0, to);
        add_one_bit(b.qh, 2, to);
    }
    static int value(uint8_t code) { return code - 4; }
    // Low four bits in the nibbles of bytes 0..7, the upper two of scale i in bits 2 (i / 4) of byte 8 + i % 4.
    static Scales scales(const Block& b) {
        Scales s{b.d, {}};
        for (int i = 0; i < 16; i++) {
            const int low = i < 8 ? b.scales[i] & 15 : b.scales[i - 8] >> 4;
            s.scales[i] = int8_t((low | (b.scales[8 + i % 4] >> i / 4 * 2 & 3) << 4) - 32);
        }
        return s;
    }
};

struct Q4_K : KScaleAndMin {
    using Block = BlockQ4_K;
    using Codes = Planes<4>;
    static void codes(const Block& b, uint8_t* to) {
        for (int i = 0; i < 4; i++) split_nibbles(b.q + 32 * i, 32, to + 64 * i);
    }
    static int value(uint8_t code) { return code; }
    static Scales scales(const Block& b) {
        Scales s{b.d, negative(b.m), {}, {}};
        split_k_scales(b.scales, s.scales, s.mins);
        return s;
    }
};

struct Q5_K : KScaleAndMin {
    using Block = BlockQ5_K;
    using Codes = Planes<4, 1>;
    static void codes(const Block& b, uint8_t* to) {
        for (int i = 0; i < 4; i++) split_nibbles(b.q + 32 * i, 32, to + 64 * i);
        add_one_bit(b.qh, 4, to);
    }
    static int value(uint8_t code) { return code; }
    static Scales scales(const Block& b) {
        Scales s{b.d, negative(b.m), {}, {}};
        split_k_scales(b.scales, s.scales, s.mins);
        return s;
    }
};

struct Q6_K : PartScale {
    using Block = BlockQ6_K;
    using Codes = Planes<4, 2>;
    static void codes(const Block& b, uint8_t* to) {
        for (int i = 0; i < 2; i++) split_nibbles(b.q + 64 * i, 64, to + 128 * i);
        add_two_bits(b.qh, 4, to);
    }
    static int value(uint8_t code) { return code - 32; }
    static Scales scales(const Block& b) {
        Scales s{b.d, {}};
        std::memcpy(s.scales, b.scales, 16);
        return s;
    }
};

}  // namespace traits
}  // namespace pyruntime::formats
