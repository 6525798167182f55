// The blocks as they lie in a file (docs/numerics.md has their values).
#pragma once
#include <cstdint>

namespace pyruntime::formats {

struct BlockQ4_0 {
    uint16_t d;
    uint8_t q[16];  // element i in the low nibble of byte i, element i + 16 in the high one
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {
    uint16_t d, m;
    uint8_t q[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ8_0 {
    uint16_t d;
    int8_t q[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

}  // namespace pyruntime::formats
