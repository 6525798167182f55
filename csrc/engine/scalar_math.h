// exp of docs/numerics.md, one value at a time: the bits of the 16-lane kernels, for code that is not a kernel.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace pyruntime {

// static: a translation unit compiled for a wider instruction set keeps its own copy.
static inline uint32_t float_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float bits_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// x = n ln2 + r with |r| <= ln2 / 2; exp(x) = 2^n p(r). Adding 1.5 * 2^23 rounds x / ln2 to n and leaves n in the low
// bits of t. The limits are masks: of a branch, GCC makes one that hides the polynomial from the vectorizer.
static inline float exp_f32(float x) {
    constexpr float kMagic = 12582912.0f;
    constexpr uint32_t kInfinityBits = 0x7F800000, kNaNBits = 0x7FC00000;
    const float t = std::fmaf(x, 1.44269504f, kMagic);
    const float n = t - kMagic;
    float r = std::fmaf(n, -0.693145752f, x);
    r = std::fmaf(n, -1.42860677e-6f, r);
    float p = 1.0f / 720.0f;
    p = std::fmaf(p, r, 1.0f / 120.0f);
    p = std::fmaf(p, r, 1.0f / 24.0f);
    p = std::fmaf(p, r, 1.0f / 6.0f);
    p = std::fmaf(p, r, 0.5f);
    p = std::fmaf(p, r, 1.0f);
    p = std::fmaf(p, r, 1.0f);
    const uint32_t y = float_bits(p) + (float_bits(t) << 23);
    const auto mask = [](bool condition) { return uint32_t{0} - static_cast<uint32_t>(condition); };
    const uint32_t finite = y & mask(x >= -87.0f) & mask(x <= 88.0f);  // 0 for NaN too
    return bits_float(finite | (kInfinityBits & mask(x > 88.0f)) | (kNaNBits & mask(x != x)));
}

}  // namespace pyruntime
