// AVX-512 with VNNI (F, BW, VL, DQ): Intel since Ice Lake, AMD since Zen 4. One zmm is one vector of 16 lanes.
//   vpdpbusd zmm   latency 4, 1 or 2 a cycle
#pragma once
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace pyruntime {
namespace {

constexpr int kDirectTile = 8;  // of one group: 8 float + 8 int accumulators, in parts 8 more
constexpr int kTileGroups = 2;  // a load of activations for each vpdpbusd would be as many as there are slots
constexpr int kMatmulTile = 6;  // 12 float + 12 int accumulators, two weight vectors, activations: 27 of 32 registers
constexpr int kMatmulTileInParts = 4;  // a third sum for each
constexpr int kFloatTile = 12;
constexpr int kAttentionTile = 8, kAttentionSums = 16;  // fma latency 4 at two a cycle wants 8 independent sums
constexpr bool kTokenPairs = false;

struct f32x16 {
    __m512 v;
};
struct i32x16 {
    __m512i v;
};
using mask16 = __mmask16;

inline f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline f32x16 load_partial(const float* p, int n) { return {_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p)}; }
inline void store(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
inline void store_partial(float* p, f32x16 a, int n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), a.v); }
inline f32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
inline f32x16 add(f32x16 a, f32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline f32x16 sub(f32x16 a, f32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline f32x16 mul(f32x16 a, f32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline f32x16 div(f32x16 a, f32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline f32x16 max(f32x16 a, f32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }  // a > b ? a : b, by the manual

inline f32x16 load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))}; }
inline f32x16 load_bf16(const uint16_t* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
inline void store_f16(uint16_t* p, f32x16 a) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline i32x16 set1_i32(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline i32x16 bits(f32x16 a) { return {_mm512_castps_si512(a.v)}; }
inline f32x16 from_bits(i32x16 a) { return {_mm512_castsi512_ps(a.v)}; }
inline i32x16 add(i32x16 a, i32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline i32x16 bit_and(i32x16 a, i32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline i32x16 max(i32x16 a, i32x16 b) { return {_mm512_max_epi32(a.v, b.v)}; }
inline i32x16 load_i8(const int8_t* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p))}; }
inline i32x16 load_u8(const uint8_t* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))}; }
template <int kBits>
inline i32x16 shift_right(i32x16 a) {
    return {_mm512_srli_epi32(a.v, kBits)};
}
template <int kBits>
inline i32x16 shift_left(i32x16 a) {
    return {_mm512_slli_epi32(a.v, kBits)};
}
inline f32x16 to_float(i32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }

inline mask16 less(f32x16 a, f32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
inline mask16 lanes_between(int first, int last) {
    const auto below = [](int n) { return n <= 0 ? 0u : n >= 16 ? 0xffffu : (1u << n) - 1; };
    return mask16(below(last) & ~below(first));
}
inline f32x16 select(mask16 m, f32x16 a, f32x16 b) { return {_mm512_mask_blend_ps(m, b.v, a.v)}; }

inline float sum16(f32x16 v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v.v), _mm512_extractf32x8_ps(v.v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float max16(f32x16 v) {
    const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v.v), _mm512_extractf32x8_ps(v.v, 1));
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
inline int32_t max16(i32x16 v) { return _mm512_reduce_max_epi32(v.v); }
inline int32_t store_i8(int8_t* p, f32x16 a) {
    const __m128i i = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a.v));
    _mm_storeu_si128((__m128i*)p, i);
    // vpsadbw adds eight unsigned bytes at a time: i + 128
    const __m128i s = _mm_sad_epu8(_mm_xor_si128(i, _mm_set1_epi8(char(0x80))), _mm_setzero_si128());
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_unpackhi_epi64(s, s))) - 16 * 128;
}
inline float sqrt_scalar(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

using w8 = i32x16;
inline w8 load_w8(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline void store_w8(uint8_t* p, w8 a) { _mm512_storeu_si512(p, a.v); }
// Bytes shifted right by kBits, or left if that is negative; what crosses into a neighbour is masked off after it.
template <int kBits>
inline __m512i shift_bytes(__m512i a) {
    if constexpr (kBits > 0)
        return _mm512_srli_epi16(a, kBits);
    else if constexpr (kBits < 0)
        return _mm512_slli_epi16(a, -kBits);
    else
        return a;
}
template <int kBits, int kIndex>
inline w8 field(w8 a) {
    if constexpr (kBits == 8) return a;
    return {_mm512_and_si512(shift_bytes<kBits * kIndex>(a.v), _mm512_set1_epi8(char((1 << kBits) - 1)))};
}
template <int kBits, int kIndex, int kShift>
inline w8 with_field(w8 low, w8 a) {
    constexpr int kOrAnd = 0xf8;  // low | (a & mask)
    const __m512i mask = _mm512_set1_epi8(char(((1 << kBits) - 1) << kShift));
    return {_mm512_ternarylogic_epi32(low.v, shift_bytes<kBits * kIndex - kShift>(a.v), mask, kOrAnd)};
}
inline w8 lookup(const int8_t* table, w8 a) {
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table)), a.v)};
}

inline w8 flip_top_bits(w8 a) { return {_mm512_xor_si512(a.v, _mm512_set1_epi8(char(0x80)))}; }
inline i32x16 dot_step(i32x16 s, w8 w, const int8_t* x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return {_mm512_dpbusd_epi32(s.v, w.v, _mm512_set1_epi32(four))};
}

// Of kernels/peak.h.
inline void forget(w8& w) { __asm__ volatile("" : "+v"(w.v)); }
inline i32x16 peak_step(i32x16 s, w8 w, w8 x) { return {_mm512_dpbusd_epi32(s.v, w.v, x.v)}; }
inline i32x16 peak_sums(i32x16 s) { return s; }

}  // namespace
}  // namespace pyruntime

#include "simd/vnni_dots.h"
