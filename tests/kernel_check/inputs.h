// Deterministic inputs, made of integers only, so that they are the same on every machine. Each value is a function of
// (stream, index): what one case draws does not depend on what another one drew.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kernel_check {

class Random {
  public:
    explicit Random(uint64_t stream) : stream_(mix(stream)) {}
    uint32_t next() { return uint32_t(mix(stream_ + ++index_ * 0x9e3779b97f4a7c15) >> 32); }
    uint32_t below(uint32_t n) { return uint32_t(uint64_t(next()) * n >> 32); }

  private:
    static uint64_t mix(uint64_t z) {  // splitmix64
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint64_t stream_, index_ = 0;
};

inline float float_from_bits(uint32_t bits) {
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
}

// Sign and mantissa random, exponent first..last (2^first <= |x| < 2^(last + 1)). One draw a statement: the order of
// two calls within an expression is the compiler's to choose.
inline float random_float(Random& r, int first, int last) {
    const uint32_t exponent = uint32_t(127 + first) + r.below(uint32_t(last - first + 1));
    const uint32_t rest = r.next();
    return float_from_bits((rest & 0x80000000) | exponent << 23 | (rest & 0x7fffff));
}
inline uint16_t random_half(Random& r, int first, int last) {
    const uint32_t exponent = uint32_t(15 + first) + r.below(uint32_t(last - first + 1));
    const uint32_t rest = r.next();
    return uint16_t((rest >> 16 & 0x8000) | exponent << 10 | (rest & 0x3ff));
}

// What a model is made of; and what a format, a clipped or a broken model may hold.
enum class Profile { kOrdinary, kExtreme };

inline float ordinary_float(Random& r) { return random_float(r, -6, 1); }
inline uint16_t ordinary_half(Random& r) { return random_half(r, -10, -3); }

constexpr uint32_t kInfinity = 0x7f800000, kNaN = 0x7fc00000, kLargest = 0x7f7fffff,
                   kSmallestBlock = 0x0d800000;  // 2^-100

inline float extreme_finite(Random& r) {
    static constexpr uint32_t kBits[] = {0,          0x80000000,     1,         0x80000001, 0x007fffff,
                                         0x00800000, kSmallestBlock, 0x3f800000};
    const uint32_t i = r.below(16), sign = r.next() & 0x80000000;
    if (r.below(500) == 0) return float_from_bits(sign | kLargest);  // rare: a row with one overflows
    return i < 8 ? float_from_bits(kBits[i]) : random_float(r, -126, 15);
}
inline uint16_t extreme_half(Random& r) {
    static constexpr uint16_t kBits[] = {0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff};
    const uint32_t i = r.below(16);
    return i < 8 ? kBits[i] : random_half(r, -14, 15);
}

// 32 activations of a kind that quantization treats apart.
constexpr uint32_t kBlockKinds = 12, kFiniteBlockKinds = 10;

inline void fill_block(Random& r, uint32_t kind, float* x) {
    for (int i = 0; i < 32; i++) x[i] = ordinary_float(r);
    const uint32_t at = r.below(32), sign = r.next() & 0x80000000;
    switch (kind) {
        case 0:
            return;
        case 1:  // zeros of both signs
            for (int i = 0; i < 32; i++) x[i] = float_from_bits(r.next() & 0x80000000);
            return;
        case 2:  // denormals
            for (int i = 0; i < 32; i++) x[i] = float_from_bits(r.next() & 0x807fffff);
            return;
        case 3:  // just below 2^-100
        case 4:  // just there
            for (int i = 0; i < 32; i++) x[i] = random_float(r, -110, -101);
            x[at] = float_from_bits(sign | (kind == 3 ? kSmallestBlock - 1 : kSmallestBlock));
            return;
        case 5:  // all +127 or all -127
            for (int i = 0; i < 32; i++) x[i] = float_from_bits(sign | 0x3fc00000);
            return;
        case 6:  // scale 1 and halves: ties
            for (int i = 0; i < 32; i++) x[i] = float(int(r.below(253)) - 126) + 0.5f;
            x[at] = sign ? -127.0f : 127.0f;
            return;
        case 7:  // one outlier
            x[at] = random_float(r, 10, 14);
            return;
        case 8:  // huge, for a product that overflows
            for (int i = 0; i < 32; i++) x[i] = random_float(r, 100, 127);
            x[at] = float_from_bits(sign | kLargest);
            return;
        case 9:  // a few values, the rest -0
            for (int i = 0; i < 32; i++)
                if (r.below(4)) x[i] = float_from_bits(0x80000000);
            return;
        case 10:
            x[at] = float_from_bits(sign | kInfinity);
            return;
        default:
            x[at] = float_from_bits(sign | kNaN);
            return;
    }
}

// A row of activations. Of the extreme rows every fifth may overflow and every seventh holds an infinity or a NaN.
inline void fill_row(Profile profile, uint64_t stream, size_t row, float* x, size_t n) {
    Random r(stream * 1000003 + row);
    float block[32];
    for (size_t i = 0; i < n; i += 32) {
        uint32_t kind = 0;
        if (profile == Profile::kExtreme) {
            kind = r.below(row % 7 == 6 ? kBlockKinds : kFiniteBlockKinds);
            if (kind == 8 && row % 5 != 4) kind = 5;
        }
        fill_block(r, kind, block);
        std::memcpy(x + i, block, 4 * (n - i < 32 ? n - i : 32));
    }
}

}  // namespace kernel_check
