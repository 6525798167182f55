// AArch64 NEON with dotprod: Apple since M1, Snapdragon and Neoverse since 2018. Panels are multiplied as packed
// weights are, by sdot.
#pragma once
#include "simd/neon.h"

namespace pyruntime {
namespace {

// 16 int accumulators, 4 weights and 4 activations in 32 registers; the float accumulators are touched once a block.
// Five tokens need as many instructions per sdot (2.4), six spill (GCC 12).
constexpr int kDirectTile = 4;
constexpr int kTileGroups = 1;
constexpr int kMatmulTile = 4;
constexpr int kMatmulTileInParts = kMatmulTile, kFloatTile = kMatmulTile;
constexpr int kAttentionTile = 4, kAttentionSums = 4;  // 16 registers
constexpr bool kTokenPairs = false;

// Of kernels/peak.h.
inline i32x16 peak_step(i32x16 s, w8 w, w8 x) {
    return ints([&](int i) { return vdotq_s32(s.v[i], vreinterpretq_s8_u8(w.v[i]), vreinterpretq_s8_u8(x.v[i])); });
}
inline i32x16 peak_sums(i32x16 s) { return s; }

}  // namespace
}  // namespace pyruntime
