// The vocabulary of the kernels in plain C++: the specification. Each function here is one line of docs/numerics.md,
// and the headers beside this one say the same in the words of their instruction set. A kernel sees exactly one of
// them.
//
//   f32x16   16 floats            i32x16   16 int32            mask16   16 booleans
//   w8       64 bytes of weights: 16 rows x 4 columns, byte 4 * row + column
//   UnsignedDot, SignedDot: the exact int32 sum of a block of 32 columns, 16 rows at once, in 8 steps of 4 columns
//   PartDot: of a block in two parts of 16 columns, each times an integer of its own
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace pyruntime {
namespace {

constexpr int kDirectTile = 4;
constexpr int kTileGroups = 1;
constexpr int kMatmulTile = 4;  // tokens whose accumulators stay in registers in a matrix-matrix product
constexpr int kMatmulTileInParts = kMatmulTile, kFloatTile = kMatmulTile;
constexpr int kAttentionTile = 4, kAttentionSums = 4;  // query rows that share each load of keys and values
constexpr bool kTokenPairs = false;  // whether panels are multiplied two tokens at a time, their steps zipped in twos

struct f32x16 {
    float v[16];
};
struct i32x16 {
    int32_t v[16];
};
struct mask16 {
    bool v[16];
};

#define PYRUNTIME_LANES(expr)                         \
    {                                                 \
        for (int l = 0; l < 16; l++) r.v[l] = (expr); \
        return r;                                     \
    }

inline float as_float(int32_t bits) {
    float f;
    __builtin_memcpy(&f, &bits, 4);
    return f;
}
inline int32_t as_bits(float f) {
    int32_t bits;
    __builtin_memcpy(&bits, &f, 4);
    return bits;
}

inline f32x16 load(const float* p) {
    f32x16 r;
    PYRUNTIME_LANES(p[l])
}
inline f32x16 load_partial(const float* p, int n) {
    f32x16 r;
    PYRUNTIME_LANES(l < n ? p[l] : 0.0f)
}
inline void store(float* p, f32x16 a) {
    for (int l = 0; l < 16; l++) p[l] = a.v[l];
}
inline void store_partial(float* p, f32x16 a, int n) {
    for (int l = 0; l < n; l++) p[l] = a.v[l];
}
inline f32x16 set1(float x) {
    f32x16 r;
    PYRUNTIME_LANES(x)
}
inline f32x16 add(f32x16 a, f32x16 b) {
    f32x16 r;
    PYRUNTIME_LANES(a.v[l] + b.v[l])
}
inline f32x16 sub(f32x16 a, f32x16 b) {
    f32x16 r;
    PYRUNTIME_LANES(a.v[l] - b.v[l])
}
inline f32x16 mul(f32x16 a, f32x16 b) {
    f32x16 r;
    PYRUNTIME_LANES(a.v[l] * b.v[l])
}
inline f32x16 div(f32x16 a, f32x16 b) {
    f32x16 r;
    PYRUNTIME_LANES(a.v[l] / b.v[l])
}
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
    f32x16 r;
    PYRUNTIME_LANES(__builtin_fmaf(a.v[l], b.v[l], c.v[l]))
}
inline f32x16 max(f32x16 a, f32x16 b) {
    f32x16 r;
    PYRUNTIME_LANES(a.v[l] > b.v[l] ? a.v[l] : b.v[l])
}

// binary16 <-> binary32, exact one way, to nearest even the other: the bits that hardware gives (NaN payloads apart).
// formats/half.h has the first for the loader: files with ISA flags share no function with the rest.
inline float half_to_float(uint16_t h) {
    const int32_t sign = int32_t(h & 0x8000) << 16, magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) return as_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    // 2^112 moves the exponent bias from 15 to 127 and makes denormals normal, exactly.
    return as_float(sign | as_bits(as_float(magnitude << 13) * as_float(0x77800000)));
}
inline uint16_t float_to_half(float f) {
    const int32_t bits = as_bits(f), magnitude = bits & 0x7fffffff;
    const uint16_t sign = uint16_t(uint32_t(bits) >> 16 & 0x8000);
    if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);
    if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);  // from 65520 on: infinity
    // Below 2^-14: the sum with 0.5 leaves the denormal's bits in the low mantissa, rounded.
    if (magnitude < 0x38800000) return uint16_t(sign | (as_bits(as_float(magnitude) + 0.5f) - 0x3f000000));
    return uint16_t(sign | ((magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13));
}
inline f32x16 load_f16(const uint16_t* p) {
    f32x16 r;
    PYRUNTIME_LANES(half_to_float(p[l]))
}
inline f32x16 load_bf16(const uint16_t* p) {
    f32x16 r;
    PYRUNTIME_LANES(as_float(int32_t(uint32_t(p[l]) << 16)))
}
inline void store_f16(uint16_t* p, f32x16 a) {
    for (int l = 0; l < 16; l++) p[l] = float_to_half(a.v[l]);
}

inline i32x16 set1_i32(int32_t x) {
    i32x16 r;
    PYRUNTIME_LANES(x)
}
inline i32x16 bits(f32x16 a) {
    i32x16 r;
    PYRUNTIME_LANES(as_bits(a.v[l]))
}
inline f32x16 from_bits(i32x16 a) {
    f32x16 r;
    PYRUNTIME_LANES(as_float(a.v[l]))
}
inline i32x16 add(i32x16 a, i32x16 b) {
    i32x16 r;
    PYRUNTIME_LANES(int32_t(uint32_t(a.v[l]) + uint32_t(b.v[l])))
}
inline i32x16 bit_and(i32x16 a, i32x16 b) {
    i32x16 r;
    PYRUNTIME_LANES(a.v[l] & b.v[l])
}
inline i32x16 max(i32x16 a, i32x16 b) {
    i32x16 r;
    PYRUNTIME_LANES(a.v[l] > b.v[l] ? a.v[l] : b.v[l])
}
inline i32x16 load_i8(const int8_t* p) {
    i32x16 r;
    PYRUNTIME_LANES(p[l])
}
inline i32x16 load_u8(const uint8_t* p) {
    i32x16 r;
    PYRUNTIME_LANES(p[l])
}
template <int kBits>
inline i32x16 shift_right(i32x16 a) {  // of lanes that are not negative
    i32x16 r;
    PYRUNTIME_LANES(a.v[l] >> kBits)
}
template <int kBits>
inline i32x16 shift_left(i32x16 a) {
    i32x16 r;
    PYRUNTIME_LANES(int32_t(uint32_t(a.v[l]) << kBits))
}
inline f32x16 to_float(i32x16 a) {
    f32x16 r;
    PYRUNTIME_LANES(float(a.v[l]))
}

inline mask16 less(f32x16 a, f32x16 b) {
    mask16 r;
    PYRUNTIME_LANES(a.v[l] < b.v[l])
}
inline mask16 lanes_between(int first, int last) {
    mask16 r;
    PYRUNTIME_LANES(l >= first && l < last)
}
inline f32x16 select(mask16 m, f32x16 a, f32x16 b) {
    f32x16 r;
    PYRUNTIME_LANES(m.v[l] ? a.v[l] : b.v[l])
}

inline float sum16(f32x16 v) {
    float a[8], b[4];
    for (int l = 0; l < 8; l++) a[l] = v.v[l] + v.v[l + 8];
    for (int l = 0; l < 4; l++) b[l] = a[l] + a[l + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}
inline float max16(f32x16 v) {
    float a[16];
    for (int l = 0; l < 16; l++) a[l] = v.v[l];
    for (int n = 8; n > 0; n /= 2)
        for (int l = 0; l < n; l++) a[l] = a[l] > a[l + n] ? a[l] : a[l + n];
    return a[0];
}
inline int32_t max16(i32x16 v) {
    int32_t r = v.v[0];
    for (int l = 1; l < 16; l++) r = v.v[l] > r ? v.v[l] : r;
    return r;
}
// The integers of 16 floats that are whole numbers in -127..127, as bytes; and their sum.
inline int32_t store_i8(int8_t* p, f32x16 a) {
    int32_t sum = 0;
    for (int l = 0; l < 16; l++) {
        p[l] = int8_t(a.v[l]);
        sum += p[l];
    }
    return sum;
}
inline float sqrt_scalar(float x) { return __builtin_sqrtf(x); }

struct w8 {
    uint8_t v[64];
};
inline w8 load_w8(const uint8_t* p) {
    w8 r;
    __builtin_memcpy(r.v, p, 64);
    return r;
}
inline void store_w8(uint8_t* p, w8 a) { __builtin_memcpy(p, a.v, 64); }
// Field kIndex, of kBits bits, of every byte.
template <int kBits, int kIndex>
inline w8 field(w8 a) {
    w8 r;
    for (int i = 0; i < 64; i++) r.v[i] = uint8_t(a.v[i] >> kBits * kIndex & ((1 << kBits) - 1));
    return r;
}
// The same, moved up by kShift, over `low`.
template <int kBits, int kIndex, int kShift>
inline w8 with_field(w8 low, w8 a) {
    w8 r;
    for (int i = 0; i < 64; i++) r.v[i] = uint8_t(low.v[i] | (a.v[i] >> kBits * kIndex & ((1 << kBits) - 1)) << kShift);
    return r;
}
// Entry a of a table, for every byte a < 16.
inline w8 lookup(const int8_t* table, w8 a) {
    w8 r;
    for (int i = 0; i < 64; i++) r.v[i] = uint8_t(table[a.v[i]]);
    return r;
}

// Of kernels/peak.h. What `forget` has seen is new to the compiler: it can neither reuse a product nor foretell a sum.
// A step adds the products of 16 rows of 4 weights up to 15 with 4 columns, which every row of x holds, the fastest way
// there is, and `peak_sums` gives the sums.
template <class Vector>
inline void forget(Vector& v) {
    __asm__ volatile("" : "+m"(v));
}
inline i32x16 peak_step(i32x16 s, w8 w, w8 x) {
    for (int l = 0; l < 16; l++)
        for (int c = 0; c < 4; c++) s.v[l] = int32_t(uint32_t(s.v[l]) + uint32_t(w.v[4 * l + c] * int8_t(x.v[c])));
    return s;
}
inline i32x16 peak_sums(i32x16 s) { return s; }

// Weights 0..kMax, their value being w - kOffset. `x_sum` is the sum of the block's 32 activations.
template <int kMax, int kOffset>
struct UnsignedDot {
    using Acc = i32x16;
    using Operand = w8;
    static Operand prepare(w8 w) { return w; }
    static Acc begin(int32_t x_sum) { return set1_i32(-kOffset * x_sum); }
    template <int kStep>
    static Acc step(Acc s, Operand w, const int8_t* x) {
        for (int l = 0; l < 16; l++)
            for (int c = 0; c < 4; c++) s.v[l] += int32_t(w.v[4 * l + c]) * x[c];
        return s;
    }
    static i32x16 end(Acc s, int32_t) { return s; }
};

// Weights of magnitude kMax or less.
template <int kMax>
struct SignedDot {
    using Acc = i32x16;
    using Operand = w8;
    static Operand prepare(w8 w) { return w; }
    static Acc begin(int32_t) { return set1_i32(0); }
    template <int kStep>
    static Acc step(Acc s, Operand w, const int8_t* x) {
        for (int l = 0; l < 16; l++)
            for (int c = 0; c < 4; c++) s.v[l] += int32_t(int8_t(w.v[4 * l + c])) * x[c];
        return s;
    }
    static i32x16 end(Acc s, int32_t) { return s; }
};

// Weights as those of UnsignedDot; `x_sum` is the sum of a part's 16 activations, the scales are -128..127. The total
// of the parts is an integer below 2^24.
template <int kMax, int kOffset>
struct PartDot {
    using Acc = i32x16;
    using Operand = w8;
    using Scale = i32x16;
    using Total = i32x16;
    static Operand prepare(w8 w) { return w; }
    static Scale scale(i32x16 s) { return s; }
    static Total zero() { return set1_i32(0); }
    static Acc begin(int32_t x_sum) { return set1_i32(-kOffset * x_sum); }
    template <int kStep>
    static Acc step(Acc s, Operand w, const int8_t* x) {
        return UnsignedDot<kMax, kOffset>::template step<kStep>(s, w, x);
    }
    static Total add(Total total, Acc s, Scale scale) {
        Total r;
        PYRUNTIME_LANES(total.v[l] + s.v[l] * scale.v[l])
    }
    static f32x16 end(Total total) { return to_float(total); }
};

#undef PYRUNTIME_LANES

}  // namespace
}  // namespace pyruntime
