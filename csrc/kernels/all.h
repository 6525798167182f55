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

// n groups from `group` on, which go together; sink(i, token, rows) takes 16 rows of the i-th of them.
template <class Sink>
inline void any_product(const PackedView& w, int64_t group, int n, const MatmulArgs& a, const Sink& sink) {
    const uint8_t* data = w.data + size_t(group) * w.group_bytes;
    switch (w.type) {
        case formats::Q4_0:
            return product<Q4_0>(data, n, a, sink);
        case formats::Q4_1:
            return product<Q4_1>(data, n, a, sink);
        case formats::Q5_0:
            return product<Q5_0>(data, n, a, sink);
        case formats::Q5_1:
            return product<Q5_1>(data, n, a, sink);
        case formats::Q8_0:
            return product<Q8_0>(data, n, a, sink);
        case formats::Q2_K:
            return product<Q2_K>(data, n, a, sink);
        case formats::Q3_K:
            return product<Q3_K>(data, n, a, sink);
        case formats::Q4_K:
            return product<Q4_K>(data, n, a, sink);
        case formats::Q5_K:
            return product<Q5_K>(data, n, a, sink);
        case formats::Q6_K:
            return product<Q6_K>(data, n, a, sink);
        case formats::IQ4_NL:
            return product<IQ4_NL>(data, n, a, sink);
        case formats::IQ4_XS:
            return product<IQ4_XS>(data, n, a, sink);
        case formats::MXFP4:
            return product<MXFP4>(data, n, a, sink);
        case formats::F16:
            return float_product<F16>(data, n, a, sink);
        case formats::BF16:
            return float_product<BF16>(data, n, a, sink);
        default:
            return float_product<F32>(data, n, a, sink);
    }
}

// The rows of a group that there are.
inline int rows_of(const PackedView& w, int64_t group) {
    const int64_t left = w.rows - group * kLanes;
    return left < kLanes ? int(left) : kLanes;
}

// y of n groups from the product and, where they are, its bias and the residual, added in this order. What is not there
// costs nothing: each case is an epilogue of its own.
template <bool kBias, bool kResidual>
inline void linear_groups(const MatmulArgs& a, int64_t group, int n, const PackedView& w, const float* bias) {
    any_product(w, group, n, a, [&](int i, int64_t t, f32x16 v) {
        const int64_t row = (group + i) * kLanes, at = row + t * a.y_stride;
        const int rows = rows_of(w, group + i);
        if constexpr (kBias) v = add(v, load_partial(bias + row, rows));
        if constexpr (kResidual) v = add(load_partial(a.residual + at, rows), v);
        store_partial(a.y + at, v, rows);
    });
}

// The gate goes to y first, then up meets it there.
inline void gated_groups(const MatmulArgs& a, int64_t group, int n) {
    a.bias ? linear_groups<true, false>(a, group, n, a.w, a.bias)
           : linear_groups<false, false>(a, group, n, a.w, nullptr);
    any_product(a.up, group, n, a, [&](int i, int64_t t, f32x16 v) {
        const int64_t row = (group + i) * kLanes;
        const int rows = rows_of(a.w, group + i);
        float* at = a.y + row + t * a.y_stride;
        if (a.up_bias) v = add(v, load_partial(a.up_bias + row, rows));
        store_partial(at, gate_times_up(a.activation, load_partial(at, rows), v), rows);
    });
}

inline void matmul(const MatmulArgs& a, int64_t first_group, int64_t last_group) {
    const int together = groups_together(a);
    for (int64_t g = first_group; g < last_group; g += together) {
        const int n = last_group - g < together ? int(last_group - g) : together;
        if (a.up.data)
            gated_groups(a, g, n);
        else if (a.residual)
            a.bias ? linear_groups<true, true>(a, g, n, a.w, a.bias)
                   : linear_groups<false, true>(a, g, n, a.w, nullptr);
        else
            a.bias ? linear_groups<true, false>(a, g, n, a.w, a.bias)
                   : linear_groups<false, false>(a, g, n, a.w, nullptr);
    }
}

constexpr KernelTable make_table(const char* name) {
    KernelTable t{};
    t.name = name;
    t.direct_tokens = kDirectTokens;
    t.tile_groups = kTileGroups;
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
