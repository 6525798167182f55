// Everything an isa_<name>.cpp compiles, after it has included its simd header.
#pragma once
#include "formats/codebooks.h"
#include "formats/types.h"
#include "kernels/table.h"
//
#include "kernels/activation.h"
#include "kernels/ahead.h"
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

// n groups from `group` on, which go together.
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
inline void linear_groups(const MatmulArgs& a, int64_t group, int n) {
    const auto take = [&](int i, int64_t t, f32x16 v) {
        const int64_t row = (group + i) * kLanes, at = row + t * a.y_stride;
        const int rows = rows_of(a.w, group + i);
        if constexpr (kBias) v = add(v, load_partial(a.bias + row, rows));
        if constexpr (kResidual) v = add(load_partial(a.residual + at, rows), v);
        store_partial(a.y + at, v, rows);
    };
    const auto ask = [&](int64_t t) {
        for (int i = 0; i < n; i++) {
            const int64_t at = (group + i) * kLanes + t * a.y_stride;
            __builtin_prefetch(a.y + at, 1);
            if constexpr (kResidual) __builtin_prefetch(a.residual + at);
        }
    };
    any_product(a.w, group, n, a, Sink{ask, take});
}

// activation(gate) * up. What the gate gives stays in the scratch until up meets it there.
template <bool kBias>
inline void gated_groups(const MatmulArgs& a, int64_t group, int n) {
    float* const gates = (float*)(a.scratch + kPanelScratchBytes);
    const auto gate_of = [&](int i, int64_t t) { return gates + (t * n + i) * kLanes; };
    const auto keep = [&](int i, int64_t t, f32x16 v) { store(gate_of(i, t), v); };
    any_product(a.w, group, n, a, Sink{[](int64_t) {}, keep});
    const auto take = [&](int i, int64_t t, f32x16 up) {
        const int64_t row = (group + i) * kLanes;
        const int rows = rows_of(a.w, group + i);
        f32x16 gate = load(gate_of(i, t));
        if constexpr (kBias) {
            gate = add(gate, load_partial(a.bias + row, rows));
            up = add(up, load_partial(a.up_bias + row, rows));
        }
        store_partial(a.y + row + t * a.y_stride, gate_times_up(a.activation, gate, up), rows);
    };
    const auto ask = [&](int64_t t) {
        for (int i = 0; i < n; i++) __builtin_prefetch(a.y + (group + i) * kLanes + t * a.y_stride, 1);
    };
    any_product(a.up, group, n, a, Sink{ask, take});
}

// Tokens first .. first + n - 1.
inline MatmulArgs of_tokens(const MatmulArgs& a, int64_t first, int64_t n) {
    MatmulArgs part = a;
    part.n_tokens = n;
    if (a.x) part.x = a.x + first * a.w.cols;
    const int64_t block = first * blocks_of(a.w.cols);
    if (a.xq.q) part.xq = {a.xq.q + first * a.w.cols, a.xq.d + block, a.xq.e + block, a.xq.sums + block};
    part.y = a.y + first * a.y_stride;
    return part;
}

inline void groups_of_matmul(const MatmulArgs& a, int64_t group, int n) {
    if (a.up.data) {
        // A residual is never added to a gated product.
        for (int64_t t = 0; t < a.n_tokens; t += kPanelTokens) {
            const MatmulArgs part = of_tokens(a, t, a.n_tokens - t < kPanelTokens ? a.n_tokens - t : kPanelTokens);
            a.bias ? gated_groups<true>(part, group, n) : gated_groups<false>(part, group, n);
        }
    } else if (a.residual) {
        a.bias ? linear_groups<true, true>(a, group, n) : linear_groups<false, true>(a, group, n);
    } else {
        a.bias ? linear_groups<true, false>(a, group, n) : linear_groups<false, false>(a, group, n);
    }
}

inline void matmul(const MatmulArgs& a, int64_t first_group, int64_t last_group) {
    const int together = groups_together(a);
    for (int64_t g = first_group; g < last_group; g += together)
        groups_of_matmul(a, g, last_group - g < together ? int(last_group - g) : together);
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
    t.attention_chunks = attention_chunks;
    t.attention_combine = attention_combine;
    t.all_finite = all_finite;
    t.exp = exp_row;
    t.int8_peak = int8_peak;
    return t;
}

}  // namespace
}  // namespace pyruntime
