// Everything an isa_<name>.cpp compiles, after it has included its simd header.
#pragma once
#include "formats/codebooks.h"
#include "formats/types.h"
#include "kernels/table.h"
//
#include "kernels/activation.h"
#include "kernels/kv.h"
#include "kernels/matmul_float.h"
#include "kernels/matmul_formats.h"
#include "kernels/matmul_quantized.h"
#include "kernels/peak.h"
#include "kernels/rows.h"
//
#include "kernels/attention_chunks.h"
//
#include "kernels/attention.h"

namespace pyruntime {
namespace {

template <class Sink>
inline void any_group_product(const PackedView& w, int64_t group, const MatmulArgs& a, const Sink& sink) {
    const uint8_t* data = w.data + size_t(group) * w.group_bytes;
    switch (w.type) {
        case formats::Q4_0:
            return group_product<Q4_0>(data, a, sink);
        case formats::Q4_1:
            return group_product<Q4_1>(data, a, sink);
        case formats::Q5_0:
            return group_product<Q5_0>(data, a, sink);
        case formats::Q5_1:
            return group_product<Q5_1>(data, a, sink);
        case formats::Q8_0:
            return group_product<Q8_0>(data, a, sink);
        case formats::Q2_K:
            return group_product<Q2_K>(data, a, sink);
        case formats::Q3_K:
            return group_product<Q3_K>(data, a, sink);
        case formats::Q4_K:
            return group_product<Q4_K>(data, a, sink);
        case formats::Q5_K:
            return group_product<Q5_K>(data, a, sink);
        case formats::Q6_K:
            return group_product<Q6_K>(data, a, sink);
        case formats::IQ4_NL:
            return group_product<IQ4_NL>(data, a, sink);
        case formats::IQ4_XS:
            return group_product<IQ4_XS>(data, a, sink);
        case formats::MXFP4:
            return group_product<MXFP4>(data, a, sink);
        case formats::F16:
            return float_group_product<F16>(data, a, sink);
        case formats::BF16:
            return float_group_product<BF16>(data, a, sink);
        default:
            return float_group_product<F32>(data, a, sink);
    }
}

// y of 16 rows from the product and, where they are, its bias and the residual, added in this order. What is not there
// costs nothing: each case is an epilogue of its own.
template <bool kBias, bool kResidual>
inline void linear_group(const MatmulArgs& a, int64_t g, const PackedView& w, const float* bias) {
    const int64_t row = g * kLanes;
    const int n = w.rows - row < kLanes ? int(w.rows - row) : kLanes;
    const f32x16 b = kBias ? load_partial(bias + row, n) : set1(0);
    any_group_product(w, g, a, [&](int64_t t, f32x16 v) {
        if constexpr (kBias) v = add(v, b);
        if constexpr (kResidual) v = add(load_partial(a.residual + row + t * a.y_stride, n), v);
        store_partial(a.y + row + t * a.y_stride, v, n);
    });
}

// The gate goes to y first, then up meets it there.
inline void gated_group(const MatmulArgs& a, int64_t g) {
    const int64_t row = g * kLanes;
    const int n = a.w.rows - row < kLanes ? int(a.w.rows - row) : kLanes;
    const f32x16 up_bias = a.up_bias ? load_partial(a.up_bias + row, n) : set1(0);
    a.bias ? linear_group<true, false>(a, g, a.w, a.bias) : linear_group<false, false>(a, g, a.w, nullptr);
    any_group_product(a.up, g, a, [&](int64_t t, f32x16 v) {
        float* at = a.y + row + t * a.y_stride;
        if (a.up_bias) v = add(v, up_bias);
        store_partial(at, gate_times_up(a.activation, load_partial(at, n), v), n);
    });
}

inline void matmul(const MatmulArgs& a, int64_t first_group, int64_t last_group) {
    for (int64_t g = first_group; g < last_group; g++) {
        if (a.up.data)
            gated_group(a, g);
        else if (a.residual)
            a.bias ? linear_group<true, true>(a, g, a.w, a.bias) : linear_group<false, true>(a, g, a.w, nullptr);
        else
            a.bias ? linear_group<true, false>(a, g, a.w, a.bias) : linear_group<false, false>(a, g, a.w, nullptr);
    }
}

constexpr KernelTable make_table(const char* name) {
    KernelTable t{};
    t.name = name;
    t.matmul_tile = kMatmulTile;
    t.attention_tile = kAttentionTile;
    t.quantize = quantize;
    t.matmul = matmul;
    t.rms_norm = rms_norm;
    t.layer_norm = layer_norm;
    t.add = add_row;
    t.add_scaled = add_scaled_row;
    t.scale = scale_row;
    t.softcap = softcap_row;
    t.activation = activation_row;
    t.gated = gated_row;
    t.sigmoid = sigmoid_row;
    t.rope = rope;
    t.kv_store = kv_store;
    t.attention = attention;
    t.all_finite = all_finite;
    t.exp = exp_row;
    t.int8_peak = int8_peak;
    return t;
}

}  // namespace
}  // namespace pyruntime
