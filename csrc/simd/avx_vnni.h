// AVX2, FMA and F16C with AVX-VNNI: Intel since Alder Lake, AMD since Zen 5, laptops that have no AVX-512 among them.
//   vpdpbusd ymm   latency 4 or 5, 2 a cycle
#pragma once
#include "simd/ymm.h"

namespace pyruntime {
namespace {

constexpr int kDirectTile = 4;
constexpr int kTileGroups = 1;
constexpr int kMatmulTile = 4;  // 5 and 6 are as fast
constexpr int kMatmulTileInParts = kMatmulTile, kFloatTile = kMatmulTile;
constexpr int kAttentionTile = 4, kAttentionSums = 4;  // 8 ymm
constexpr bool kTokenPairs = false;

inline w8 flip_top_bits(w8 a) {
    const __m256i top = _mm256_set1_epi8(char(0x80));
    return {_mm256_xor_si256(a.lo, top), _mm256_xor_si256(a.hi, top)};
}
inline i32x16 dot_step(i32x16 s, w8 w, const int8_t* x) {
    const __m256i v = broadcast4(x);
    return {_mm256_dpbusd_avx_epi32(s.lo, w.lo, v), _mm256_dpbusd_avx_epi32(s.hi, w.hi, v)};
}

// Of kernels/peak.h.
inline void forget(w8& w) { __asm__ volatile("" : "+x"(w.lo), "+x"(w.hi)); }
inline i32x16 peak_step(i32x16 s, w8 w, w8 x) {
    return {_mm256_dpbusd_avx_epi32(s.lo, w.lo, x.lo), _mm256_dpbusd_avx_epi32(s.hi, w.hi, x.hi)};
}
inline i32x16 peak_sums(i32x16 s) { return s; }

}  // namespace
}  // namespace pyruntime

#include "simd/vnni_dots.h"
