// binary16 and bfloat16 to binary32, exactly.
#pragma once
#include <cstdint>
#include <cstring>

namespace pyruntime::formats {

inline float from_bits(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

inline float half_to_float(uint16_t h) {
    const uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) return from_bits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    // 2^112 moves the exponent bias from 15 to 127 and makes denormals normal.
    const float f = from_bits(magnitude << 13) * from_bits(0x77800000);
    return sign ? -f : f;
}

inline float bf16_to_float(uint16_t h) { return from_bits(uint32_t(h) << 16); }

inline bool half_is_finite(uint16_t h) { return (h & 0x7c00) != 0x7c00; }
inline bool bf16_is_finite(uint16_t h) { return (h & 0x7f80) != 0x7f80; }

}  // namespace pyruntime::formats
