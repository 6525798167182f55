// The blocks as they lie in a file (docs/numerics.md has their values). `d` and `m` are binary16.
#pragma once
#include <cstdint>

namespace pyruntime::formats {

// Blocks of 32. Nibbles: element i in the low one of byte i, element i + 16 in the high one. `qh` holds bit 4 of
// element i in bit i.
struct BlockQ4_0 {
    uint16_t d;
    uint8_t q[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {
    uint16_t d, m;
    uint8_t q[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {
    uint16_t d;
    uint8_t qh[4], q[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {
    uint16_t d, m;
    uint8_t qh[4], q[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ8_0 {
    uint16_t d;
    int8_t q[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

struct BlockIQ4_NL {
    uint16_t d;
    uint8_t q[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

struct BlockMXFP4 {
    uint8_t e;  // the scale's exponent
    uint8_t q[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

// Blocks of 256, in 8 parts of 32 or 16 parts of 16, each with a scale of a few bits. formats/k.h says how the bits of
// an element lie.
struct BlockQ2_K {
    uint8_t scales[16];  // of 16 elements: scale in the low nibble, min in the high one
    uint8_t q[64];
    uint16_t d, m;
};
static_assert(sizeof(BlockQ2_K) == 84);

struct BlockQ3_K {
    uint8_t qh[32], q[64], scales[12];
    uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

struct BlockQ4_K {
    uint16_t d, m;
    uint8_t scales[12], q[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {
    uint16_t d, m;
    uint8_t scales[12], qh[32], q[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

struct BlockQ6_K {
    uint8_t q[128], qh[64];
    int8_t scales[16];
    uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

struct BlockIQ4_XS {
    uint16_t d, scales_h;
    uint8_t scales_l[4], q[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

}  // namespace pyruntime::formats
