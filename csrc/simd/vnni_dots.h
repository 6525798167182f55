// Integer products by vpdpbusd, which adds four products of unsigned weights and signed activations to each int32 lane:
// dot_step() of the header that includes this. The unsigned operand is the weight: a nibble as it is, a signed byte
// with its top bit flipped (w + 128). What that adds is taken off in the start value of the sum (-offset * x_sum),
// which costs nothing per step.
#pragma once

namespace pyruntime {
namespace {

template <int kMax, int kOffset>
struct UnsignedDot {
    using Acc = i32x16;
    using Operand = w8;
    static Operand prepare(w8 w) { return w; }
    static Acc begin(int32_t x_sum) { return set1_i32(-kOffset * x_sum); }
    template <int kStep>
    static Acc step(Acc s, Operand w, const int8_t* x) {
        return dot_step(s, w, x);
    }
    static i32x16 end(Acc s, int32_t) { return s; }
};

template <int kMax>
struct SignedDot : UnsignedDot<255, 128> {
    static w8 prepare(w8 w) { return flip_top_bits(w); }
};

// In floats, which is exact (all are integers below 2^24): vpmulld takes two slots, a conversion and an fma one each.
template <int kMax, int kOffset>
struct PartDot : UnsignedDot<kMax, kOffset> {
    using Scale = f32x16;
    using Total = f32x16;
    static Scale scale(i32x16 s) { return to_float(s); }
    static Total zero() { return set1(0); }
    static Total add(Total total, i32x16 s, Scale scale) { return fma(to_float(s), scale, total); }
    static f32x16 end(Total total) { return total; }
};

}  // namespace
}  // namespace pyruntime
