// What the kernels are judged by apart from each other: plain loops in float64, and how far float32 may be from them.
// Bit equality makes one judgement enough, so only the scalar run is judged.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "formats/types.h"

namespace kernel_check {

constexpr double kUlp = 0x1p-24;         // largest relative error of one rounding
constexpr double kUnderflow = 0x1p-149;  // and of one that ends among the denormals, absolute

// x * r in float32 is off by two roundings of up to 127, which a tie may turn into one more half step.
constexpr double kQuantizeSteps = 0.5 + 3 * 127 * kUlp;
// A chain of n roundings of partial sums is off by at most n times the sum of magnitudes: the textbook bound. A
// wrong scale, row or column misses it by five orders of magnitude.
constexpr double chain_budget(double n, double magnitude) { return n * kUlp * magnitude + n * kUnderflow; }
// Over the floats of [-87, 88] the largest is 7.66e-8 (at 5.1998): a rounding and a quarter.
constexpr double kExp = 7.8e-8;
constexpr double kSilu = kExp + 3 * kUlp;  // exp, 1 +, the division
// Across all floats the largest are 1.46e-7, 1.54e-7, 3.8e-7 (near -0.35), 1.67e-7, 1.65e-7.
constexpr double kTanh = 1.5e-7, kSigmoid = 1.6e-7, kGelu = 4e-7, kGeluTanh = 1.8e-7, kSwigluGate = 1.8e-7;
constexpr double kSiluSlope = 1.1;       // the largest |silu'|
constexpr double kRmsNormRoundings = 8;  // sum16 (4 deep), mean, eps and root, halved by the root; 1 / x; two products
constexpr double kRopeRoundings = 2;
// Softmax weights, a chunk: exp, a sum of 64 that is 7 deep, and, to combine it, two exp and three roundings.
constexpr double kSoftmaxChunk = 2 * kExp + 12 * kUlp;

inline double half_to_double(uint16_t h) {
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const double sign = h & 0x8000 ? -1 : 1;
    if (exponent == 31) return sign * (mantissa ? std::nan("") : INFINITY);
    return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
}

// The binary16 nearest to x, ties to even, as a number.
inline double nearest_half(double x) {
    if (!(std::fabs(x) < INFINITY) || x == 0) return x;
    const int exponent = std::ilogb(x) < -14 ? -14 : std::ilogb(x);
    const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, 10 - exponent)), exponent - 10);
    return std::fabs(rounded) >= 65536 ? std::copysign(INFINITY, x) : rounded;
}

inline double silu(double x) { return x / (1 + std::exp(-x)); }

inline double read_float(uint32_t type, const uint8_t* row, size_t k) {
    if (type == pyruntime::formats::F16) return half_to_double(uint16_t(row[2 * k] | row[2 * k + 1] << 8));
    uint32_t bits = 0;
    if (type == pyruntime::formats::BF16)
        bits = uint32_t(row[2 * k] | row[2 * k + 1] << 8) << 16;
    else
        std::memcpy(&bits, row + 4 * k, 4);
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

}  // namespace kernel_check
