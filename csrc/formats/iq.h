// Formats of 4-bit codes that stand for entries of a table.
#pragma once
#include "formats/codebooks.h"
#include "formats/legacy.h"

namespace pyruntime::formats::traits {

struct IQ4_NL : Scale16 {
    using Block = BlockIQ4_NL;
    using Codes = Planes<4>;
    static void codes(const Block& b, uint8_t* to) { split_nibbles(b.q, 16, to); }
    static int value(uint8_t code) { return kIQ4Values[code]; }
    static Scales scales(const Block& b) { return {b.d}; }
};

struct IQ4_XS {
    struct Scales {
        uint16_t d;
        int8_t scales[8];
    };
    static constexpr Field kFields[] = {{2, 1}, {1, 8}};
    static constexpr int kElements = 256, kPart = 32;
    static constexpr bool kHasMin = false;
    static float scale(const Scales& s, int part) { return half_to_float(s.d) * float(s.scales[part]); }
    static bool finite(const Scales& s) { return half_is_finite(s.d); }

    using Block = BlockIQ4_XS;
    using Codes = Planes<4>;
    static void codes(const Block& b, uint8_t* to) {
        for (int i = 0; i < 8; i++) split_nibbles(b.q + 16 * i, 16, to + 32 * i);
    }
    static int value(uint8_t code) { return kIQ4Values[code]; }
    static Scales scales(const Block& b) {
        Scales s{b.d, {}};
        for (int i = 0; i < 8; i++) {
            const int low = b.scales_l[i / 2] >> i % 2 * 4 & 15;
            s.scales[i] = int8_t((low | (b.scales_h >> 2 * i & 3) << 4) - 32);
        }
        return s;
    }
};

// The scale is 2^(e - 128): the table holds twice the values of e2m1. 255 is NaN in the MX specification, and refused.
struct MXFP4 {
    struct Scales {
        uint8_t e;
    };
    static constexpr Field kFields[] = {{1, 1}};
    static constexpr int kElements = 32, kPart = 32;
    static constexpr bool kHasMin = false;
    static float scale(const Scales& s, int) {
        return from_bits(s.e < 2 ? 0x00200000u << s.e : uint32_t(s.e - 1) << 23);
    }
    static bool finite(const Scales& s) { return s.e != 255; }

    using Block = BlockMXFP4;
    using Codes = Planes<4>;
    static void codes(const Block& b, uint8_t* to) { split_nibbles(b.q, 16, to); }
    static int value(uint8_t code) { return kE2M1Values[code]; }
    static Scales scales(const Block& b) { return {b.e}; }
};

}  // namespace pyruntime::formats::traits
