// AVX2 + FMA + F16C: every x86-64 laptop since 2015.
//   vpmaddubsw   pairs of unsigned * signed products, added with saturation to int16.
// A pair is at most 2 * 127 * w: the eight pairs of a block fit int16 for w <= 15 (30,480), four of them for w <= 31,
// so that one or two vpmaddwd a block widen. Signed weights go in as |w| * sign(x, w); bytes (2 * 127 * 128 = 32,512)
// are widened at each step. Parts of 16 columns (w <= 32 in four pairs: 32,512) are widened and multiplied by their
// scale at once: vpmaddwd with the scale in both halves of a lane.
#pragma once
#include "simd/ymm.h"

namespace pyruntime {
namespace {

constexpr int kDirectTile = 4;
constexpr int kTileGroups = 1;
constexpr int kMatmulTile = 4;  // 8 integer accumulators stay in registers; the float ones are touched once a block
constexpr int kMatmulTileInParts = kMatmulTile, kFloatTile = kMatmulTile;
constexpr int kAttentionTile = 4, kAttentionSums = 4;  // 8 ymm
constexpr bool kTokenPairs = false;

inline i32x16 madd(i32x16 a, i32x16 b) { return {_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)}; }
inline i32x16 add_i16(i32x16 a, i32x16 b) { return {_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)}; }

// How many steps of weights up to kMax int16 can hold: 8, 4, 2 or 1.
constexpr int steps_in_i16(int max) {
    int steps = 8;
    while (2 * 127 * max * steps > 32767) steps /= 2;
    return steps;
}

// Sums of pairs in int16, and what has been widened of them.
template <int kMax>
struct PairSums {
    i32x16 pairs, wide;
    template <int kStep>
    static PairSums step(PairSums s, i32x16 products) {
        constexpr int n = steps_in_i16(kMax);
        s.pairs = kStep % n == 0 ? products : add_i16(s.pairs, products);
        if (kStep % n == n - 1) {
            const __m256i ones = _mm256_set1_epi16(1);
            const i32x16 sums = madd(s.pairs, {ones, ones});
            s.wide = kStep < n ? sums : add(s.wide, sums);
        }
        return s;
    }
};

template <int kMax, int kOffset>
struct UnsignedDot {
    using Acc = PairSums<kMax>;
    using Operand = w8;
    static Operand prepare(w8 w) { return w; }
    static Acc begin(int32_t) { return {set1_i32(0), set1_i32(0)}; }
    template <int kStep>
    static Acc step(Acc s, Operand w, const int8_t* x) {
        const __m256i v = broadcast4(x);
        return Acc::template step<kStep>(s, {_mm256_maddubs_epi16(w.lo, v), _mm256_maddubs_epi16(w.hi, v)});
    }
    static i32x16 end(Acc s, int32_t x_sum) { return add(s.wide, set1_i32(-kOffset * x_sum)); }
};

// Of kernels/peak.h: sums of pairs in int16.
inline void forget(w8& w) { __asm__ volatile("" : "+x"(w.lo), "+x"(w.hi)); }
inline i32x16 peak_step(i32x16 s, w8 w, w8 x) {
    return add_i16(s, {_mm256_maddubs_epi16(w.lo, x.lo), _mm256_maddubs_epi16(w.hi, x.hi)});
}
inline i32x16 peak_sums(i32x16 s) {
    const __m256i ones = _mm256_set1_epi16(1);
    return madd(s, {ones, ones});
}

struct SignedOperand {
    w8 w, magnitude;  // |-128| is 128, unsigned
};
inline SignedOperand with_magnitude(w8 w) { return {w, {_mm256_abs_epi8(w.lo), _mm256_abs_epi8(w.hi)}}; }
inline i32x16 signed_products(const SignedOperand& o, const int8_t* x) {
    const __m256i v = broadcast4(x);
    return {_mm256_maddubs_epi16(o.magnitude.lo, _mm256_sign_epi8(v, o.w.lo)),
            _mm256_maddubs_epi16(o.magnitude.hi, _mm256_sign_epi8(v, o.w.hi))};
}

template <int kMax>
struct SignedDot {
    using Acc = PairSums<kMax>;
    using Operand = SignedOperand;
    static Operand prepare(w8 w) { return with_magnitude(w); }
    static Acc begin(int32_t) { return {set1_i32(0), set1_i32(0)}; }
    template <int kStep>
    static Acc step(Acc s, const Operand& o, const int8_t* x) {
        return Acc::template step<kStep>(s, signed_products(o, x));
    }
    static i32x16 end(Acc s, int32_t) { return s.wide; }
};

template <int kMax, int kOffset>
struct PartDot {
    static_assert(steps_in_i16(kOffset > kMax - kOffset ? kOffset : kMax - kOffset) >= 4);
    using Acc = i32x16;  // pairs in int16
    using Operand = SignedOperand;
    using Scale = i32x16;  // twice in int16
    using Total = i32x16;
    static Operand prepare(w8 w) {
        const __m256i offset = _mm256_set1_epi8(kOffset);
        return with_magnitude({_mm256_sub_epi8(w.lo, offset), _mm256_sub_epi8(w.hi, offset)});
    }
    static Scale scale(i32x16 s) { return add_i16(shift_left<16>(s), bit_and(s, set1_i32(0xffff))); }
    static Total zero() { return set1_i32(0); }
    static Acc begin(int32_t) { return set1_i32(0); }
    template <int kStep>
    static Acc step(Acc s, const Operand& o, const int8_t* x) {
        return add_i16(s, signed_products(o, x));
    }
    static Total add(Total total, Acc s, Scale scale) { return pyruntime::add(total, madd(s, scale)); }
    static f32x16 end(Total total) { return to_float(total); }
};

}  // namespace
}  // namespace pyruntime
