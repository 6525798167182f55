// exp and the activations over 16 lanes, and the quantization of activations: formulas in docs/numerics.md.
#pragma once

namespace pyruntime {
namespace {

// exp(x + low), where `low` is what rounding left off x: zero, or far below x.
template <bool kHasLow>
inline f32x16 exp_of_sum(f32x16 x, f32x16 low) {
    // 1.5 * 2^23: adding it rounds to a whole number, left in the low mantissa bits.
    const f32x16 magic = set1(12582912.0f);
    const f32x16 t = fma(x, set1(1.44269504f), magic);
    const f32x16 n = sub(t, magic);
    f32x16 r = fma(n, set1(-0.693145752f), x);
    r = fma(n, set1(-1.42860677e-6f), r);
    if constexpr (kHasLow) r = add(r, low);
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
inline f32x16 exp(f32x16 x) { return exp_of_sum<false>(x, x); }
inline f32x16 exp(f32x16 x, f32x16 low) { return exp_of_sum<true>(x, low); }

inline f32x16 negate(f32x16 x) { return sub(set1(0.0f), x); }  // of a zero +0
inline f32x16 magnitude(f32x16 x) { return from_bits(bit_and(bits(x), set1_i32(0x7fffffff))); }
inline f32x16 at_least(f32x16 x, float low) { return select(less(x, set1(low)), set1(low), x); }    // NaN stays NaN
inline f32x16 at_most(f32x16 x, float high) { return select(less(set1(high), x), set1(high), x); }  // NaN stays NaN

inline f32x16 sigmoid(f32x16 x) { return div(set1(1.0f), add(set1(1.0f), exp(negate(x)))); }

inline f32x16 silu(f32x16 x) { return div(x, add(set1(1.0f), exp(negate(x)))); }

inline f32x16 tanh(f32x16 x) {
    const f32x16 m = magnitude(x), s = mul(x, x);
    f32x16 p = set1(-0.00609693561f);  // (tanh(x) - x) / x^3 over x^2: fitted on [0, 0.625^2]
    p = fma(p, s, set1(0.0209973523f));
    p = fma(p, s, set1(-0.0538509519f));
    p = fma(p, s, set1(0.133327701f));
    p = fma(p, s, set1(-0.333333289f));
    const f32x16 small = fma(mul(x, s), p, x);
    const f32x16 large = sub(set1(1.0f), div(set1(2.0f), add(set1(1.0f), exp(add(m, m)))));
    const f32x16 with_sign = from_bits(add(bits(large), bit_and(bits(x), set1_i32(int32_t(0x80000000)))));
    return select(less(m, set1(0.625f)), small, with_sign);
}

// x Phi(x) with Phi(-t) = exp(-t^2/2) R(t), so that the left tail keeps its digits. x^2 has a low part: exp turns the
// absolute error of its argument into a relative one.
inline f32x16 gelu(f32x16 x) {
    const f32x16 t = at_most(magnitude(x), 14.0f);  // from 13.2 on exp gives 0
    const f32x16 u = div(set1(1.0f), add(t, set1(3.0f))), q = mul(sub(t, set1(3.0f)), u);
    f32x16 p = set1(4.90212806e-05f);  // R(t) (t + 3): fitted over q, -1 to 0.65
    p = fma(p, q, set1(-0.000208864003f));
    p = fma(p, q, set1(-0.000946475018f));
    p = fma(p, q, set1(0.00102094025f));
    p = fma(p, q, set1(0.00693827961f));
    p = fma(p, q, set1(-0.0104631549f));
    p = fma(p, q, set1(-0.0472583398f));
    p = fma(p, q, set1(0.230017632f));
    p = fma(p, q, set1(-0.50933218f));
    p = fma(p, q, set1(0.729083717f));
    const f32x16 square = mul(t, t), low = fma(t, t, negate(square));
    const f32x16 e = exp(mul(square, set1(-0.5f)), mul(low, set1(-0.5f)));
    const f32x16 tail = mul(mul(t, mul(u, p)), e);  // t Phi(-t)
    return select(less(x, set1(0.0f)), negate(tail), sub(x, tail));
}

// x sigmoid(z), z = sqrt(8 / pi) (x + 0.044715 x^3); z has a low part for the same reason.
inline f32x16 gelu_tanh(f32x16 x) {
    const f32x16 v = at_least(x, -11.0f), w = at_most(v, 11.0f);  // z(11) is 112: exp is 0 or infinite from 88 on
    const f32x16 first = set1(1.59576797f), first_low = set1(1.1467522e-06f);  // 20 bits and the rest
    const f32x16 third = set1(0.0713548139f), third_low = set1(2.39883247e-09f);
    const f32x16 square = mul(w, w), square_low = fma(w, w, negate(square));
    const f32x16 k = fma(third, square, first);  // z / x
    f32x16 k_low = fma(third, square_low, fma(third_low, square, first_low));
    k_low = add(k_low, fma(third, square, sub(first, k)));
    const f32x16 z = mul(w, k), z_low = fma(w, k_low, fma(w, k, negate(z)));
    return div(v, add(set1(1.0f), exp(negate(z), negate(z_low))));
}

// The gate of gpt-oss: x sigmoid(1.702 x), x at most 7.
inline f32x16 swiglu_gate(f32x16 x) {
    const f32x16 v = at_least(at_most(x, 7.0f), -60.0f);
    const f32x16 z = mul(v, set1(1.702f)), z_low = fma(v, set1(-2.19345093e-08f), fma(v, set1(1.702f), negate(z)));
    return div(v, add(set1(1.0f), exp(negate(z), negate(z_low))));
}

// What the gate's product becomes, and what up's, of the activation named by its code (table.h).
inline f32x16 activate(int kind, f32x16 x) {
    switch (kind) {
        case kSilu:
            return silu(x);
        case kGelu:
            return gelu(x);
        case kGeluTanh:
            return gelu_tanh(x);
        case kRelu:
            return at_least(x, 0.0f);
        case kRelu2: {
            const f32x16 r = at_least(x, 0.0f);
            return mul(r, r);
        }
        default:
            return swiglu_gate(x);
    }
}
inline f32x16 gate_times_up(int kind, f32x16 gate, f32x16 up) {
    if (kind == kSwigluOai) up = add(at_least(at_most(up, 7.0f), -7.0f), set1(1.0f));
    return mul(activate(kind, gate), up);
}

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

// y[i] = f(x[i]); y may be x.
template <class F>
inline void each_vector(const float* x, int64_t n, float* y, const F& f) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        store_partial(y + i, f(load_partial(x + i, left)), left);
    }
}

inline void exp_row(const float* x, int64_t n, float* y) {
    each_vector(x, n, y, [](f32x16 v) { return exp(v); });
}
inline void sigmoid_row(const float* x, int64_t n, float* y) {
    each_vector(x, n, y, [](f32x16 v) { return sigmoid(v); });
}
inline void activation_row(int kind, const float* x, int64_t n, float* y) {
    each_vector(x, n, y, [=](f32x16 v) { return activate(kind, v); });
}
inline void gated_row(int kind, const float* gate, const float* up, int64_t n, float* y) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const int left = n - i < kLanes ? int(n - i) : kLanes;
        store_partial(y + i, gate_times_up(kind, load_partial(gate + i, left), load_partial(up + i, left)), left);
    }
}
inline void softcap_row(const float* x, float cap, int64_t n, float* y) {
    each_vector(x, n, y, [=](f32x16 v) { return mul(set1(cap), tanh(div(v, set1(cap)))); });
}

}  // namespace
}  // namespace pyruntime
