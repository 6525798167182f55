// The KV store: one token's keys and values in a page.
#include <algorithm>
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

// Blocks of ordinary size, large, small, vanishing and of zeros.
float byte_edge(Random& r, size_t i) {
    static constexpr int kExponents[] = {0, 14, -12, -30, 3};
    const int e = kExponents[i / 32 % 5];
    const float x = random_float(r, e - 8, e);
    return r.below(8) ? x : float_from_bits(r.next() & 0x80000000);
}

// What is stored of the vectors of one token, and where.
class Judge {
  public:
    Judge(Run& run, const PageLayout& layout, const uint8_t* page)
        : run_(run), layout_(layout), page_(page), expected_(layout.bytes, kCanary) {}

    // Elements of x, then zeros up to n; places(i) is where element i lies.
    template <class Places>
    void vector(const char* what, const float* x, int dim, int n, const Places& places) {
        for (int i = 0; i < n; i++) {
            const float from = i < dim ? x[i] : 0;
            const Place place = places(i);
            const double got = layout_.read(page_, place);
            if (layout_.bytes_only())
                run_.within(what, place.at, got, from, byte_budget(x, dim, i));
            else
                exactly(what, place.at, got, from);
            std::memcpy(&expected_[place.at], page_ + place.at, layout_.element());
            if (layout_.bytes_only()) std::memcpy(&expected_[place.scale], page_ + place.scale, 2);
        }
    }
    void nothing_else() {
        run_.require(std::memcmp(expected_.data(), page_, layout_.bytes) == 0, "bytes of other positions were touched");
    }

  private:
    void exactly(const char* what, size_t at, double got, float x) {
        run_.within(what, at, got, layout_.element() == 2 ? nearest_half(x) : x, 0);
        run_.require(std::signbit(got) == std::signbit(x), text("%s: the sign of a zero", what));
    }
    // Half a step and the rounding of the scale, by 2^-12 of it or by 2^-25, times 127.
    static double byte_budget(const float* x, int dim, int i) {
        double largest = 0;
        for (int k = i / 32 * 32; k < dim && k < i / 32 * 32 + 32; k++)
            largest = std::max(largest, std::fabs(double(x[k])));
        return largest / 127 * kQuantizeSteps + largest * 0x1p-11 + 127 * 0x1p-25;
    }

    Run& run_;
    const PageLayout& layout_;
    const uint8_t* page_;
    std::vector<uint8_t> expected_;
};

void check_one_store(Run& run, const KVShape& shape, int slot) {
    run.begin(text("kv_store %s slot %d", shape.name().c_str(), slot));
    const PageLayout layout(shape);
    const Array<float> k(size_t(shape.n_heads * shape.head_dim));
    const Array<float> v(shape.latent ? 0 : size_t(shape.n_heads * shape.value_dim));
    Random r(uint64_t(shape.n_heads * 1000 + shape.head_dim * 64 + slot));
    for (size_t i = 0; i < k.size(); i++) k[i] = layout.bytes_only() ? byte_edge(r, i) : half_edge(r);
    for (size_t i = 0; i < v.size(); i++) v[i] = layout.bytes_only() ? byte_edge(r, i) : half_edge(r);
    const Output<uint8_t> page(layout.bytes);
    KVStoreArgs a = layout.store_args();
    a.k = k.data();
    a.v = shape.latent ? nullptr : v.data();
    a.page = page.data();
    a.slot = slot;
    run.k.kv_store(a);
    run.result("page", page.data(), page.size());
    page.check_strips(run, "page");
    if (!run.reference()) return;
    Judge judge(run, layout, page.data());
    for (int h = 0; h < shape.n_heads; h++) {
        judge.vector("key", k.data() + h * shape.head_dim, shape.head_dim, layout.stored_key(),
                     [&](int i) { return layout.key(h, slot, i); });
        judge.vector("value", v.data() + h * shape.value_dim, shape.value_dim, layout.stored_value(),
                     [&](int i) { return layout.value(h, slot, i); });
    }
    judge.nothing_else();
}

constexpr int kDims[][2] = {{16, 16}, {64, 64}, {72, 24}, {80, 112}, {20, 130}, {192, 128}};

}  // namespace

void check_kv_store(Run& run) {
    for (const auto& dims : kDims)
        for (int n_heads : {1, 3})
            for (int slot : {0, 1, 15, 16, 47, 63})
                for (KVType type : {KVType::f32, KVType::f16, KVType::q8_0})
                    for (bool latent : {false, true})
                        check_one_store(run, {n_heads, dims[0], dims[1], type, latent}, slot);
}

}  // namespace kernel_check
