// Formats of blocks of 32 whose codes are numbers. A format says here
//   Block, kElements   its block in a file, and how many elements that has
//   Codes              the planes of its codes in a group
//   codes(block, to)   the codes of a block
//   value(code)        the integer that a code stands for
//   Scales, kFields    the scales of a block as a group keeps them; of each member the bytes of a number and their
//   count scales(block)      makes them scale(s, part)     the factor of the integers in part `part` of kPart elements
//   min(s, part)       what is added then, if kHasMin
//   finite(s)          whether a file may hold them
// and everything else follows: dequantize.cpp, pack.cpp.
#pragma once
#include "formats/blocks.h"
#include "formats/half.h"
#include "formats/planes.h"

namespace pyruntime::formats {

struct Field {
    size_t n_bytes, count;
};

// n bytes: low nibbles first, then high ones.
inline void split_nibbles(const uint8_t* from, int n, uint8_t* to) {
    for (int i = 0; i < n; i++) to[i] = from[i] & 15;
    for (int i = 0; i < n; i++) to[n + i] = from[i] >> 4;
}

inline void add_fifth_bits(const uint8_t* bits, uint8_t* codes) {
    for (int i = 0; i < 4; i++) {
        uint64_t eight;
        std::memcpy(&eight, codes + 8 * i, 8);
        // Bit j of the byte in byte j, which 127 carries into bit 7, and bit 7 moved to bit 4.
        const uint64_t one_each = bits[i] * uint64_t(0x0101010101010101) & 0x8040201008040201;
        eight |= (one_each + 0x7f7f7f7f7f7f7f7f) >> 3 & 0x1010101010101010;
        std::memcpy(codes + 8 * i, &eight, 8);
    }
}

namespace traits {

struct Scale16 {
    struct Scales {
        uint16_t d;
    };
    static constexpr Field kFields[] = {{2, 1}};
    static constexpr int kElements = 32, kPart = 32;
    static constexpr bool kHasMin = false;
    static float scale(const Scales& s, int) { return half_to_float(s.d); }
    static bool finite(const Scales& s) { return half_is_finite(s.d); }
};

struct Scale16AndMin {
    struct Scales {
        uint16_t d, m;
    };
    static constexpr Field kFields[] = {{2, 1}, {2, 1}};
    static constexpr int kElements = 32, kPart = 32;
    static constexpr bool kHasMin = true;
    static float scale(const Scales& s, int) { return half_to_float(s.d); }
    static float min(const Scales& s, int) { return half_to_float(s.m); }
    static bool finite(const Scales& s) { return half_is_finite(s.d) && half_is_finite(s.m); }
};

struct Q4_0 : Scale16 {
    using Block = BlockQ4_0;
    using Codes = Planes<4>;
    static void codes(const Block& b, uint8_t* to) { split_nibbles(b.q, 16, to); }
    static int value(uint8_t code) { return code - 8; }
    static Scales scales(const Block& b) { return {b.d}; }
};

struct Q4_1 : Scale16AndMin {
    using Block = BlockQ4_1;
    using Codes = Planes<4>;
    static void codes(const Block& b, uint8_t* to) { split_nibbles(b.q, 16, to); }
    static int value(uint8_t code) { return code; }
    static Scales scales(const Block& b) { return {b.d, b.m}; }
};

struct Q5_0 : Scale16 {
    using Block = BlockQ5_0;
    using Codes = Planes<4, 1>;
    static void codes(const Block& b, uint8_t* to) {
        split_nibbles(b.q, 16, to);
        add_fifth_bits(b.qh, to);
    }
    static int value(uint8_t code) { return code - 16; }
    static Scales scales(const Block& b) { return {b.d}; }
};

struct Q5_1 : Scale16AndMin {
    using Block = BlockQ5_1;
    using Codes = Planes<4, 1>;
    static void codes(const Block& b, uint8_t* to) {
        split_nibbles(b.q, 16, to);
        add_fifth_bits(b.qh, to);
    }
    static int value(uint8_t code) { return code; }
    static Scales scales(const Block& b) { return {b.d, b.m}; }
};

struct Q8_0 : Scale16 {
    using Block = BlockQ8_0;
    using Codes = Planes<8>;
    static void codes(const Block& b, uint8_t* to) { std::memcpy(to, b.q, 32); }
    static int value(uint8_t code) { return int8_t(code); }
    static Scales scales(const Block& b) { return {b.d}; }
};

}  // namespace traits
}  // namespace pyruntime::formats
