// AArch64 NEON with dotprod: the vectors and the products of few tokens, for neon_dotprod.h and neon_i8mm.h, which add
// what they multiply panels with. 16 lanes are four registers of 4.
//   sdot by element   4 products of signed bytes into each int32 lane. The 4 columns of activations are one element of
//                     a register, so one 32-bit load feeds 16 rows and nothing is broadcast.
// Both operands are signed: a byte is a weight as it is; a nibble is 0..15, and its offset is taken off in the start
// value of the sum (-offset * x_sum), which costs nothing per step.
#pragma once
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

namespace pyruntime {
namespace {

struct f32x16 {
    float32x4_t v[4];
};
struct i32x16 {
    int32x4_t v[4];
};
struct mask16 {
    uint32x4_t v[4];  // all ones or all zeros in a lane
};

// One line a function reads as a table.
// clang-format off

// A vector from its quarters 0..3. Not a loop: the indices must be constants for the arrays to become registers. Forced
// inline: GCC 12 leaves calls in the tiles of one and two tokens.
template <class F>
[[gnu::always_inline]] inline f32x16 floats(const F& quarter) { return {{quarter(0), quarter(1), quarter(2), quarter(3)}}; }
template <class F>
[[gnu::always_inline]] inline i32x16 ints(const F& quarter) { return {{quarter(0), quarter(1), quarter(2), quarter(3)}}; }
template <class F>
[[gnu::always_inline]] inline mask16 masks(const F& quarter) { return {{quarter(0), quarter(1), quarter(2), quarter(3)}}; }

inline f32x16 load(const float* p) { return floats([&](int i) { return vld1q_f32(p + 4 * i); }); }
inline void store(float* p, f32x16 a) {
    vst1q_f32(p, a.v[0]);
    vst1q_f32(p + 4, a.v[1]);
    vst1q_f32(p + 8, a.v[2]);
    vst1q_f32(p + 12, a.v[3]);
}
// NEON has no masked access: a tail goes through a buffer, and n = 16, the usual case, does not.
inline f32x16 load_partial(const float* p, int n) {
    if (n >= 16) return load(p);
    float lanes[16] = {};
    for (int l = 0; l < n; l++) lanes[l] = p[l];
    return load(lanes);
}
inline void store_partial(float* p, f32x16 a, int n) {
    if (n >= 16) return store(p, a);
    float lanes[16];
    store(lanes, a);
    for (int l = 0; l < n; l++) p[l] = lanes[l];
}
inline f32x16 set1(float x) { return floats([&](int) { return vdupq_n_f32(x); }); }
inline f32x16 add(f32x16 a, f32x16 b) { return floats([&](int i) { return vaddq_f32(a.v[i], b.v[i]); }); }
inline f32x16 sub(f32x16 a, f32x16 b) { return floats([&](int i) { return vsubq_f32(a.v[i], b.v[i]); }); }
inline f32x16 mul(f32x16 a, f32x16 b) { return floats([&](int i) { return vmulq_f32(a.v[i], b.v[i]); }); }
inline f32x16 div(f32x16 a, f32x16 b) { return floats([&](int i) { return vdivq_f32(a.v[i], b.v[i]); }); }
inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) {
    return floats([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
}
// a > b ? a : b. fmax is another function: it orders the zeros, and a NaN on either side wins.
inline float32x4_t larger(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline f32x16 max(f32x16 a, f32x16 b) { return floats([&](int i) { return larger(a.v[i], b.v[i]); }); }

inline f32x16 load_f16(const uint16_t* p) {
    return floats([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
inline f32x16 load_bf16(const uint16_t* p) {
    return floats([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
inline void store_f16(uint16_t* p, f32x16 a) {  // to nearest even, as FPCR says
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a.v[0])));
    vst1_u16(p + 4, vreinterpret_u16_f16(vcvt_f16_f32(a.v[1])));
    vst1_u16(p + 8, vreinterpret_u16_f16(vcvt_f16_f32(a.v[2])));
    vst1_u16(p + 12, vreinterpret_u16_f16(vcvt_f16_f32(a.v[3])));
}

inline i32x16 set1_i32(int32_t x) { return ints([&](int) { return vdupq_n_s32(x); }); }
inline i32x16 bits(f32x16 a) { return ints([&](int i) { return vreinterpretq_s32_f32(a.v[i]); }); }
inline f32x16 from_bits(i32x16 a) { return floats([&](int i) { return vreinterpretq_f32_s32(a.v[i]); }); }
inline i32x16 add(i32x16 a, i32x16 b) { return ints([&](int i) { return vaddq_s32(a.v[i], b.v[i]); }); }
inline i32x16 bit_and(i32x16 a, i32x16 b) { return ints([&](int i) { return vandq_s32(a.v[i], b.v[i]); }); }
inline i32x16 max(i32x16 a, i32x16 b) { return ints([&](int i) { return vmaxq_s32(a.v[i], b.v[i]); }); }
inline i32x16 load_i8(const int8_t* p) {
    const int8x16_t v = vld1q_s8(p);
    const int16x8_t lo = vmovl_s8(vget_low_s8(v)), hi = vmovl_s8(vget_high_s8(v));
    return {{vmovl_s16(vget_low_s16(lo)), vmovl_s16(vget_high_s16(lo)), vmovl_s16(vget_low_s16(hi)),
             vmovl_s16(vget_high_s16(hi))}};
}
inline i32x16 load_u8(const uint8_t* p) {
    const uint8x16_t v = vld1q_u8(p);
    const uint16x8_t lo = vmovl_u8(vget_low_u8(v)), hi = vmovl_u8(vget_high_u8(v));
    const auto widen = [](uint16x4_t quarter) { return vreinterpretq_s32_u32(vmovl_u16(quarter)); };
    return {{widen(vget_low_u16(lo)), widen(vget_high_u16(lo)), widen(vget_low_u16(hi)), widen(vget_high_u16(hi))}};
}
template <int kBits>
inline i32x16 shift_right(i32x16 a) { return ints([&](int i) { return vshrq_n_s32(a.v[i], kBits); }); }
template <int kBits>
inline i32x16 shift_left(i32x16 a) { return ints([&](int i) { return vshlq_n_s32(a.v[i], kBits); }); }
inline f32x16 to_float(i32x16 a) { return floats([&](int i) { return vcvtq_f32_s32(a.v[i]); }); }

inline mask16 less(f32x16 a, f32x16 b) { return masks([&](int i) { return vcltq_f32(a.v[i], b.v[i]); }); }
inline mask16 lanes_between(int first, int last) {
    static constexpr int32_t kNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int32x4_t from = vdupq_n_s32(first), to = vdupq_n_s32(last);
    return masks([&](int i) {
        const int32x4_t lane = vld1q_s32(kNumbers + 4 * i);
        return vandq_u32(vcgeq_s32(lane, from), vcltq_s32(lane, to));
    });
}
inline f32x16 select(mask16 m, f32x16 a, f32x16 b) {
    return floats([&](int i) { return vbslq_f32(m.v[i], a.v[i], b.v[i]); });
}

inline float sum16(f32x16 v) {
    const float32x4_t b = vaddq_f32(vaddq_f32(v.v[0], v.v[2]), vaddq_f32(v.v[1], v.v[3]));
    const float32x2_t c = vadd_f32(vget_low_f32(b), vget_high_f32(b));
    return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
}
inline float max16(f32x16 v) {
    const float32x4_t b = larger(larger(v.v[0], v.v[2]), larger(v.v[1], v.v[3]));
    const float32x4_t c = larger(b, vextq_f32(b, b, 2));
    return vgetq_lane_f32(larger(c, vextq_f32(c, c, 1)), 0);
}
inline int32_t max16(i32x16 v) {
    return vmaxvq_s32(vmaxq_s32(vmaxq_s32(v.v[0], v.v[2]), vmaxq_s32(v.v[1], v.v[3])));
}
inline int32_t store_i8(int8_t* p, f32x16 a) {
    const i32x16 q = ints([&](int i) { return vcvtq_s32_f32(a.v[i]); });
    const int16x8_t lo = vcombine_s16(vmovn_s32(q.v[0]), vmovn_s32(q.v[1]));
    const int16x8_t hi = vcombine_s16(vmovn_s32(q.v[2]), vmovn_s32(q.v[3]));
    vst1q_s8(p, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
    return vaddvq_s32(vaddq_s32(vaddq_s32(q.v[0], q.v[2]), vaddq_s32(q.v[1], q.v[3])));
}
inline float sqrt_scalar(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

struct w8 {
    uint8x16_t v[4];
};
template <class F>
[[gnu::always_inline]] inline w8 bytes(const F& quarter) { return {{quarter(0), quarter(1), quarter(2), quarter(3)}}; }

inline w8 load_w8(const uint8_t* p) { return bytes([&](int i) { return vld1q_u8(p + 16 * i); }); }
inline void store_w8(uint8_t* p, w8 a) {
    vst1q_u8(p, a.v[0]);
    vst1q_u8(p + 16, a.v[1]);
    vst1q_u8(p + 32, a.v[2]);
    vst1q_u8(p + 48, a.v[3]);
}
// Bytes shifted right by kBits, or left if that is negative.
template <int kBits>
inline uint8x16_t shift_bytes(uint8x16_t a) {
    if constexpr (kBits > 0)
        return vshrq_n_u8(a, kBits);
    else if constexpr (kBits < 0)
        return vshlq_n_u8(a, -kBits);
    else
        return a;
}
template <int kBits, int kIndex>
inline w8 field(w8 a) {
    constexpr int kShift = kBits * kIndex;
    if constexpr (kBits == 8) return a;
    if constexpr (kShift + kBits == 8) return bytes([&](int i) { return shift_bytes<kShift>(a.v[i]); });  // the top
    const uint8x16_t mask = vdupq_n_u8((1 << kBits) - 1);
    return bytes([&](int i) { return vandq_u8(shift_bytes<kShift>(a.v[i]), mask); });
}
template <int kBits, int kIndex, int kShift>
inline w8 with_field(w8 low, w8 a) {
    const uint8x16_t mask = vdupq_n_u8(((1 << kBits) - 1) << kShift);
    return bytes([&](int i) {
        return vorrq_u8(low.v[i], vandq_u8(shift_bytes<kBits * kIndex - kShift>(a.v[i]), mask));
    });
}
inline w8 lookup(const int8_t* table, w8 a) {
    const uint8x16_t t = vreinterpretq_u8_s8(vld1q_s8(table));
    return bytes([&](int i) { return vqtbl1q_u8(t, a.v[i]); });
}

inline i32x16 dot_step(i32x16 s, w8 w, const int8_t* x) {
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    const int8x8_t columns = vreinterpret_s8_s32(vset_lane_s32(four, vdup_n_s32(0), 0));
    return ints([&](int i) { return vdotq_lane_s32(s.v[i], vreinterpretq_s8_u8(w.v[i]), columns, 0); });
}

// Of kernels/peak.h.
template <class Vector>
inline void forget(Vector& a) { __asm__ volatile("" : "+w"(a.v[0]), "+w"(a.v[1]), "+w"(a.v[2]), "+w"(a.v[3])); }

template <int kMax, int kOffset>
struct UnsignedDot {
    using Acc = i32x16;
    using Operand = w8;
    static Operand prepare(w8 w) { return w; }
    static Acc begin(int32_t x_sum) { return set1_i32(-kOffset * x_sum); }
    template <int kStep>
    static Acc step(Acc s, Operand w, const int8_t* x) { return dot_step(s, w, x); }
    static i32x16 end(Acc s, int32_t) { return s; }
};

template <int kMax>
struct SignedDot : UnsignedDot<kMax, 0> {};

template <int kMax, int kOffset>
struct PartDot : UnsignedDot<kMax, kOffset> {
    using Scale = i32x16;
    using Total = i32x16;
    static Scale scale(i32x16 s) { return s; }
    static Total zero() { return set1_i32(0); }
    static Total add(Total total, i32x16 s, Scale scale) {
        return ints([&](int i) { return vmlaq_s32(total.v[i], s.v[i], scale.v[i]); });
    }
    static f32x16 end(Total total) { return to_float(total); }
};
// clang-format on

}  // namespace
}  // namespace pyruntime
