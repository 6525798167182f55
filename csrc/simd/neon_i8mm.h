// AArch64 NEON with i8mm: Apple since M2, Snapdragon X, Neoverse V1, N2 and after.
//   smmla   8 columns of 2 rows times 8 of 2 tokens, signed bytes: 32 products into 4 int32, where sdot makes 16.
// So panels, which many tokens share, are multiplied two tokens at a time (kTokenPairs). Few tokens are limited by
// memory, and stay with sdot. A register is, with row r and token t:
//   weights   r 0, columns 0..7 | r 1, columns 0..7    two steps of a panel zipped, once, when it is unpacked
//   columns   t 0, columns 0..7 | t 1, columns 0..7
//   sums      r 0 t 0 | r 0 t 1 | r 1 t 0 | r 1 t 1    the int32 lanes of both tokens, zipped
#pragma once
#include "simd/neon.h"

namespace pyruntime {
namespace {

constexpr int kDirectTile = 4;
constexpr int kTileGroups = 1;
constexpr int kMatmulTile = 4;  // 16 int accumulators, 4 registers of columns, one of weights
constexpr int kMatmulTileInParts = kMatmulTile, kFloatTile = kMatmulTile;
constexpr int kAttentionTile = 4, kAttentionSums = 4;  // 16 registers
constexpr bool kTokenPairs = true;

// Two steps, 8 columns, of a panel.
inline void store_zipped(uint8_t* p, w8 a, w8 b) {
    for (int i = 0; i < 4; i++) {
        const uint32x4_t low = vreinterpretq_u32_u8(a.v[i]), high = vreinterpretq_u32_u8(b.v[i]);
        vst1q_u8(p + 32 * i, vreinterpretq_u8_u32(vzip1q_u32(low, high)));
        vst1q_u8(p + 32 * i + 16, vreinterpretq_u8_u32(vzip2q_u32(low, high)));
    }
}

// The sums of two tokens.
struct i32x16x2 {
    int32x4_t v[8];
};
inline i32x16x2 zip(i32x16 a, i32x16 b) {
    i32x16x2 both;
    for (int i = 0; i < 4; i++) {
        both.v[2 * i] = vzip1q_s32(a.v[i], b.v[i]);
        both.v[2 * i + 1] = vzip2q_s32(a.v[i], b.v[i]);
    }
    return both;
}
inline i32x16 first_of(const i32x16x2& s) {
    return ints([&](int i) { return vuzp1q_s32(s.v[2 * i], s.v[2 * i + 1]); });
}
inline i32x16 second_of(const i32x16x2& s) {
    return ints([&](int i) { return vuzp2q_s32(s.v[2 * i], s.v[2 * i + 1]); });
}

// Adds n steps of a panel, a multiple of 4, of T tokens whose columns lie `stride` bytes apart. An odd last token makes
// a pair with itself. All pairs take a register of weights before the next one is loaded.
template <int T>
[[gnu::always_inline]] inline void add_zipped(i32x16 (&s)[T], const uint8_t* w, int n, const int8_t* x,
                                              int64_t stride) {
    constexpr int kPairs = (T + 1) / 2;
    const auto second = [](int pair) { return 2 * pair + 1 < T ? 2 * pair + 1 : 2 * pair; };
    const auto columns = [&](int t) { return vreinterpretq_s64_s8(vld1q_s8(x + t * stride)); };  // 16 of them
    i32x16x2 sums[kPairs];
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; p++) sums[p] = zip(s[2 * p], s[second(p)]);
#pragma GCC unroll 2
    for (int k = 0; k < n; k += 4, x += 16) {
        int8x16_t halves[2][kPairs];
#pragma GCC unroll 4
        for (int p = 0; p < kPairs; p++) {
            halves[0][p] = vreinterpretq_s8_s64(vzip1q_s64(columns(2 * p), columns(second(p))));
            halves[1][p] = vreinterpretq_s8_s64(vzip2q_s64(columns(2 * p), columns(second(p))));
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++, w += 16) {
            const int8x16_t rows = vreinterpretq_s8_u8(vld1q_u8(w));
#pragma GCC unroll 4
            for (int p = 0; p < kPairs; p++) sums[p].v[i % 8] = vmmlaq_s32(sums[p].v[i % 8], rows, halves[i / 8][p]);
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; p++) {
        s[second(p)] = second_of(sums[p]);
        s[2 * p] = first_of(sums[p]);
    }
}

// Of kernels/peak.h. w has 2 rows of 4 columns where a product has 8 of one, so the first token's columns are x, x, and
// the second's x, -x: a sum and a difference of two rows, of which peak_sums() makes twice each row's.
inline i32x16 peak_step(i32x16 s, w8 w, w8 x) {
    const int8x8_t both = vget_low_s8(vreinterpretq_s8_u8(x.v[0]));
    const int32x2_t same = vreinterpret_s32_s8(both), negated = vreinterpret_s32_s8(vneg_s8(both));
    const int8x16_t columns = vcombine_s8(both, vreinterpret_s8_s32(vzip1_s32(same, negated)));
    return ints([&](int i) { return vmmlaq_s32(s.v[i], vreinterpretq_s8_u8(w.v[i]), columns); });
}
inline i32x16 peak_sums(i32x16 s) {
    return ints([&](int i) {
        const int32x4_t swapped = vrev64q_s32(s.v[i]);
        return vtrn1q_s32(vaddq_s32(s.v[i], swapped), vsubq_s32(s.v[i], swapped));
    });
}

}  // namespace
}  // namespace pyruntime
