// exp and silu over 16 lanes, and the quantization of activations: formulas in docs/numerics.md.
#pragma once

namespace pyruntime {
namespace {

inline f32x16 exp(f32x16 x) {
    // 1.5 * 2^23: adding it rounds to a whole number, left in the low mantissa bits.
    const f32x16 magic = set1(12582912.0f);
    const f32x16 t = fma(x, set1(1.44269504f), magic);
    const f32x16 n = sub(t, magic);
    f32x16 r = fma(n, set1(-0.693145752f), x);
    r = fma(n, set1(-1.42860677e-6f), r);
    f32x16 p = set1(0.00138145045f);  // near 1/720, 1/120, ...: fitted, a third of the error of Taylor's
    p = fma(p, r, set1(0.00836876221f));
    p = fma(p, r, set1(0.0416683927f));
    p = fma(p, r, set1(0.166665196f));
    p = fma(p, r, set1(0.49999994f));
    p = fma(p, r, set1(1.0f));
    p = fma(p, r, set1(1.0f));
    f32x16 y = from_bits(add(bits(p), shift_left<23>(bits(t))));
    y = select(less(x, set1(-87.0f)), set1(0.0f), y);
    y = select(less(set1(88.0f), x), set1(__builtin_inff()), y);
    return select(less(x, set1(__builtin_inff())), y, add(x, x));  // infinity and NaN as themselves
}

inline f32x16 silu(f32x16 x) { return div(x, add(set1(1.0f), exp(sub(set1(0.0f), x)))); }

inline void quantize(const float* x, int64_t cols, int8_t* q, float* d, float* e, BlockSums* sums) {
    const i32x16 magnitude = set1_i32(0x7fffffff);
    const f32x16 magic = set1(12582912.0f);
    for (int64_t b = 0; b < cols / kBlock; b++) {
        const f32x16 lo = load(x + kBlock * b), hi = load(x + kBlock * b + 16);
        const int32_t a_bits = max16(max(bit_and(bits(lo), magnitude), bit_and(bits(hi), magnitude)));
        float a, scale = 0, inverse = 0;
        __builtin_memcpy(&a, &a_bits, 4);
        const bool finite = a_bits < 0x7f800000;
        if (finite && a_bits >= 0x0d800000) {  // 2^-100
            scale = a / 127.0f;
            inverse = 127.0f / a;
        } else {
            scale = finite ? 0.0f : __builtin_nanf("");
        }
        if (inverse != 0) {
            const f32x16 r = set1(inverse);
            const int32_t first = store_i8(q + kBlock * b, sub(add(mul(lo, r), magic), magic));
            const int32_t second = store_i8(q + kBlock * b + 16, sub(add(mul(hi, r), magic), magic));
            sums[b] = {int16_t(first + second), int16_t(first)};
        } else {
            store_i8(q + kBlock * b, set1(0));
            store_i8(q + kBlock * b + 16, set1(0));
            sums[b] = {0, 0};
        }
        d[b] = scale;
        e[b] = scale * float(sums[b].all);
    }
}

inline void exp_row(const float* x, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        store_partial(y + i, exp(load_partial(x + i, left)), left);
    }
}

}  // namespace
}  // namespace pyruntime
