// The quantized formats as the kernels read them: a format is an integer product (simd/*.h), the codes of its weights
// and their scales; formats/pack.h draws how a group keeps the last two. Codes give step k of block b: 64 bytes, 4
// columns of 16 rows. Scales give what the exact integer sums of a block of 32 are multiplied by, one lane a row.
// Steps are forced inline: GCC 12 leaves them as calls on NEON, each of which costs as much as the step.
#pragma once

namespace pyruntime {
namespace {

// Codes in bit planes (formats/planes.h).
template <int kLow, int kHigh = 0>
struct Planes {
    static constexpr int kBlockBytes = 64 * (kLow + kHigh);
    const uint8_t* q;
    template <int k>
    [[gnu::always_inline]] w8 step(int64_t b) const {
        const uint8_t* at = q + kBlockBytes * b;
        const w8 low = field<kLow, k % (8 / kLow)>(load_w8(at + 64 * (k / (8 / kLow))));
        if constexpr (kHigh == 0) {
            return low;
        } else {
            const w8 high = load_w8(at + 64 * kLow + 64 * (k / (8 / kHigh)));
            return with_field<kHigh, k % (8 / kHigh), kLow>(low, high);
        }
    }
};

// Nibbles that stand for the entries of a table.
template <const int8_t* kTable>
struct Codebook : Planes<4> {
    template <int k>
    [[gnu::always_inline]] w8 step(int64_t b) const {
        return lookup(kTable, Planes<4>::step<k>(b));
    }
};

// A scale for each block of 32, in binary16.
struct HalfScale {
    static constexpr bool kHasMin = false, kInParts = false;
    const uint16_t* d;
    HalfScale(const uint8_t* at, int64_t) : d((const uint16_t*)at) {}
    f32x16 scale(int64_t b) const { return load_f16(d + 16 * b); }
};
struct HalfScaleAndMin : HalfScale {
    static constexpr bool kHasMin = true;
    const uint16_t* m;
    HalfScaleAndMin(const uint8_t* at, int64_t blocks) : HalfScale(at, blocks), m(d + 16 * blocks) {}
    f32x16 min(int64_t b) const { return load_f16(m + 16 * b); }
};

// A power of two for each block: 2^(e - 128), where e = 0 is a denormal of the one above it.
struct ExponentScale {
    static constexpr bool kHasMin = false, kInParts = false;
    const uint8_t* e;
    ExponentScale(const uint8_t* at, int64_t) : e(at) {}
    f32x16 scale(int64_t b) const {
        const i32x16 doubled = max(shift_left<23>(load_u8(e + 16 * b)), set1_i32(0x00400000));
        return mul(from_bits(doubled), set1(0.5f));
    }
};

// An integer for each block of 32 times a binary16 for each 256: exact in binary32.
struct NestedScale {
    static constexpr bool kHasMin = false, kInParts = false;
    const uint16_t* d;
    const int8_t* scales;
    NestedScale(const uint8_t* at, int64_t blocks)
        : d((const uint16_t*)at), scales((const int8_t*)(d + 16 * (blocks / 8))) {}
    f32x16 scale(int64_t b) const { return mul(load_f16(d + 16 * (b / 8)), to_float(load_i8(scales + 16 * b))); }
};
struct NestedScaleAndMin {
    static constexpr bool kHasMin = true, kInParts = false;
    const uint16_t *d, *m;
    const uint8_t *scales, *mins;
    NestedScaleAndMin(const uint8_t* at, int64_t blocks)
        : d((const uint16_t*)at),
          m(d + 16 * (blocks / 8)),
          scales((const uint8_t*)(m + 16 * (blocks / 8))),
          mins(scales + 16 * blocks) {}
    f32x16 scale(int64_t b) const { return mul(load_f16(d + 16 * (b / 8)), to_float(load_u8(scales + 16 * b))); }
    f32x16 min(int64_t b) const { return mul(load_f16(m + 16 * (b / 8)), to_float(load_u8(mins + 16 * b))); }
};

// Integers for each part of 16 columns, which the sums are multiplied by before they are added; scale() and min() are
// those of the 256. part_scale(b, 0) and (b, 1) are of the parts of block b.
struct PartScale {
    static constexpr bool kHasMin = false, kInParts = true;
    const uint16_t* d;
    const int8_t* scales;
    PartScale(const uint8_t* at, int64_t blocks)
        : d((const uint16_t*)at), scales((const int8_t*)(d + 16 * (blocks / 8))) {}
    f32x16 scale(int64_t b) const { return load_f16(d + 16 * (b / 8)); }
    i32x16 part_scale(int64_t b, int part) const { return load_i8(scales + 32 * b + 16 * part); }
};
struct PartScaleAndMin {
    static constexpr bool kHasMin = true, kInParts = true;
    const uint16_t *d, *m;
    const uint8_t* scales_mins;
    PartScaleAndMin(const uint8_t* at, int64_t blocks)
        : d((const uint16_t*)at), m(d + 16 * (blocks / 8)), scales_mins((const uint8_t*)(m + 16 * (blocks / 8))) {}
    f32x16 scale(int64_t b) const { return load_f16(d + 16 * (b / 8)); }
    f32x16 min(int64_t b) const { return load_f16(m + 16 * (b / 8)); }
    i32x16 part_scale(int64_t b, int part) const { return bit_and(both(b, part), set1_i32(15)); }
    i32x16 part_min(int64_t b, int part) const { return shift_right<4>(both(b, part)); }

  private:
    i32x16 both(int64_t b, int part) const { return load_u8(scales_mins + 32 * b + 16 * part); }
};

// A group as it is packed. While it is read, the next one is asked for, to the second-level cache, as many bytes a
// block as a block has of codes and scales: each group has up to five arrays, too short for the hardware's prefetchers
// to find. Measured on Zen 5, two threads that read from memory: 1.1 to 2.5 times as fast as codes 4 KB ahead.
template <class Codes, class Scales>
struct Packed : Codes, Scales {
    static constexpr bool kAhead = true, kZipped = false;
    const uint8_t* next;
    int64_t block_bytes;  // scales included
    Packed(const uint8_t* group, int64_t blocks, size_t group_bytes)
        : Codes{group},
          Scales(group + Codes::kBlockBytes * blocks, blocks),
          next(group + group_bytes),
          block_bytes(int64_t(group_bytes) / blocks) {}
    void prefetch(int64_t b) const {
        const uint8_t* at = next + block_bytes * b;
#pragma GCC unroll 9
        for (int i = 0; i <= Codes::kBlockBytes; i += 64) __builtin_prefetch(at + i, 0, 2);
    }
};

template <class D, class C, class S>
struct Format {
    using Dot = D;
    using Codes = C;
    using Scales = S;
};

using Q4_0 = Format<UnsignedDot<15, 8>, Planes<4>, HalfScale>;
using Q4_1 = Format<UnsignedDot<15, 0>, Planes<4>, HalfScaleAndMin>;
using Q5_0 = Format<UnsignedDot<31, 16>, Planes<4, 1>, HalfScale>;
using Q5_1 = Format<UnsignedDot<31, 0>, Planes<4, 1>, HalfScaleAndMin>;
using Q8_0 = Format<SignedDot<128>, Planes<8>, HalfScale>;
using Q2_K = Format<PartDot<3, 0>, Planes<2>, PartScaleAndMin>;
using Q3_K = Format<PartDot<7, 4>, Planes<2, 1>, PartScale>;
using Q4_K = Format<UnsignedDot<15, 0>, Planes<4>, NestedScaleAndMin>;
using Q5_K = Format<UnsignedDot<31, 0>, Planes<4, 1>, NestedScaleAndMin>;
using Q6_K = Format<PartDot<63, 32>, Planes<4, 2>, PartScale>;
using IQ4_NL = Format<SignedDot<128>, Codebook<formats::kIQ4Values>, HalfScale>;
using IQ4_XS = Format<SignedDot<128>, Codebook<formats::kIQ4Values>, NestedScale>;
using MXFP4 = Format<SignedDot<12>, Codebook<formats::kE2M1Values>, ExponentScale>;

}  // namespace
}  // namespace pyruntime
