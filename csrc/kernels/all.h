// Everything an isa_<name>.cpp compiles, after it has included its simd header.
#pragma once
#include "formats/codebooks.h"
#include "formats/types.h"
#include "kernels/table.h"
//
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/matmul_float.h"
#include "kernels/matmul_formats.h"
#include "kernels/matmul_quantized.h"
#include "kernels/rows.h"

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

inline void matmul(const MatmulArgs& a, int64_t first_group, int64_t last_group) {
    for (int64_t g = first_group; g < last_group; g++) {
        const int64_t row = g * kLanes;
        const int n = a.w.rows - row < kLanes ? int(a.w.rows - row) : kLanes;
        float* y = a.y + row;
        if (a.up.data) {  // the gate goes to y first, then up meets it there
            any_group_product(a.w, g, a, [&](int64_t t, f32x16 v) { store_partial(y + t * a.y_stride, silu(v), n); });
            any_group_product(a.up, g, a, [&](int64_t t, f32x16 v) {
                float* at = y + t * a.y_stride;
                store_partial(at, mul(load_partial(at, n), v), n);
            });
        } else if (a.residual) {
            const float* r = a.residual + row;
            any_group_product(a.w, g, a, [&](int64_t t, f32x16 v) {
                store_partial(y + t * a.y_stride, add(load_partial(r + t * a.y_stride, n), v), n);
            });
        } else {
            any_group_product(a.w, g, a, [&](int64_t t, f32x16 v) { store_partial(y + t * a.y_stride, v, n); });
        }
    }
}

constexpr KernelTable make_table(const char* name) {
    return {name,    kMatmulTile, kAttentionTile, quantize,  matmul,     rms_norm,
            add_row, rope,        kv_store,       attention, all_finite, exp_row};
}

}  // namespace
}  // namespace pyruntime
