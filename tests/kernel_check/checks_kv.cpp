// The KV store: one token's keys and values in a page.
#include <cmath>
#include <initializer_list>
#include <vector>

#include "buffers.h"
#include "check.h"
#include "inputs.h"
#include "kv_pages.h"

namespace kernel_check {

namespace {

// What rounding to binary16 treats apart: ties, the step to infinity, denormals and their ties.
float half_edge(Random& r) {
    static constexpr uint32_t kBits[] = {0x477fefff, 0x477ff000, 0x477fe000, 0x38800000, 0x387fffff, 0x387fe000,
                                         0x33000000, 0x33000001, 0x33800000, 0x33c00000, 1,          kLargest};
    const uint32_t kind = r.below(4), sign = r.next() & 0x80000000;
    if (kind == 0) return float_from_bits(sign | kBits[r.below(12)]);
    if (kind == 1) return float_from_bits(sign | (0x38000000 + (r.below(0x0f000) << 12)));  // many ties
    if (kind == 2) return random_float(r, -26, -13);
    return ordinary_float(r);
}

void check_one_store(Run& run, const KVShape& shape, int slot) {
    run.begin(text("kv_store %s slot %d", shape.name().c_str(), slot));
    const PageLayout layout(shape);
    const Array<float> k(size_t(shape.n_heads * shape.head_dim)), v(size_t(shape.n_heads * shape.value_dim));
    Random r(uint64_t(shape.n_heads * 1000 + shape.head_dim * 64 + slot));
    for (size_t i = 0; i < k.size(); i++) k[i] = half_edge(r);
    for (size_t i = 0; i < v.size(); i++) v[i] = half_edge(r);
    const Output<uint8_t> page(layout.bytes);
    KVStoreArgs a = layout.store_args();
    a.k = k.data();
    a.v = v.data();
    a.page = page.data();
    a.slot = slot;
    run.k.kv_store(a);
    run.result("page", page.data(), page.size());
    page.check_strips(run, "page");
    if (!run.reference()) return;
    std::vector<uint8_t> expected(layout.bytes, kCanary);
    const auto put = [&](size_t at, double got, float x, const char* what) {
        run.within(what, at, got, shape.type == KVType::f16 ? nearest_half(x) : x, 0);
        run.require(std::signbit(got) == std::signbit(x), text("%s: the sign of a zero", what));
        std::memcpy(&expected[at], page.data() + at, layout.element());
    };
    for (int h = 0; h < shape.n_heads; h++) {
        for (int i = 0; i < shape.head_dim; i++)
            put(layout.key_at(h, slot, i), layout.key(page.data(), h, slot, i), k[size_t(h * shape.head_dim + i)],
                "key");
        for (int i = 0; i < layout.value_stride(); i++)
            put(layout.value_at(h, slot, i), layout.value(page.data(), h, slot, i),
                i < shape.value_dim ? v[size_t(h * shape.value_dim + i)] : 0.0f, "value");
    }
    run.require(std::memcmp(expected.data(), page.data(), layout.bytes) == 0, "bytes of other positions were touched");
}

constexpr int kDims[][2] = {{16, 16}, {64, 64}, {72, 24}, {80, 112}, {20, 130}, {192, 128}};

}  // namespace

void check_kv_store(Run& run) {
    for (const auto& dims : kDims)
        for (int n_heads : {1, 3})
            for (int slot : {0, 1, 15, 16, 47, 63})
                for (KVType type : {KVType::f32, KVType::f16})
                    check_one_store(run, {n_heads, dims[0], dims[1], type}, slot);
}

}  // namespace kernel_check
