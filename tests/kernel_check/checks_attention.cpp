// Rotary embedding, the KV store and attention over pages.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "buffers.h"
#include "check.h"
#include "inputs.h"
#include "reference.h"

namespace kernel_check {

using pyruntime::AttentionArgs;
using pyruntime::kLanes;
using pyruntime::kPageTokens;
using pyruntime::KVStoreArgs;
using pyruntime::RopeArgs;

namespace {

constexpr int kHeadDims[] = {16, 64, 72, 80, 128};

// Where the heads of one layer lie in a page, after another layer's bytes, which no kernel may touch.
struct PageLayout {
    PageLayout(int n_heads, int head_dim, bool f16)
        : element(f16 ? 2 : 4),
          value_stride(int(pyruntime::round_up(head_dim, kLanes))),
          key_head_bytes(size_t(kPageTokens * head_dim) * element),
          value_head_bytes(size_t(kPageTokens * value_stride) * element),
          value_offset(key_offset + size_t(n_heads) * key_head_bytes + kOther),
          bytes(value_offset + size_t(n_heads) * value_head_bytes) {}

    // Byte of element i of the key, or value, at a slot. Not the kernels' own formula: the layout in words is in
    // table.h.
    size_t key_at(int head, int slot, int head_dim, int i) const {
        const int group = slot / 16, position = slot % 16;
        return key_offset + size_t(head) * key_head_bytes + size_t((group * head_dim + i) * 16 + position) * element;
    }
    size_t value_at(int head, int slot, int i) const {
        return value_offset + size_t(head) * value_head_bytes + size_t(slot * value_stride + i) * element;
    }

    static constexpr size_t kOther = 256;
    size_t element;
    int value_stride;
    size_t key_head_bytes, value_head_bytes, key_offset = kOther, value_offset, bytes;
};

double stored(const uint8_t* p, bool f16) {
    if (f16) {
        uint16_t h;
        std::memcpy(&h, p, 2);
        return half_to_double(h);
    }
    float f;
    std::memcpy(&f, p, 4);
    return f;
}

KVStoreArgs store_args(const PageLayout& layout, int n_heads, int head_dim, bool f16) {
    KVStoreArgs a = {};
    a.n_kv_heads = n_heads;
    a.head_dim = head_dim;
    a.key_offset = layout.key_offset;
    a.value_offset = layout.value_offset;
    a.key_head_bytes = layout.key_head_bytes;
    a.value_head_bytes = layout.value_head_bytes;
    a.f16 = f16;
    return a;
}

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

void check_one_store(Run& run, int n_heads, int head_dim, int slot, bool f16) {
    run.begin(text("kv_store heads %d head_dim %d slot %d %s", n_heads, head_dim, slot, f16 ? "f16" : "f32"));
    const PageLayout layout(n_heads, head_dim, f16);
    const Array<float> k(size_t(n_heads * head_dim)), v(k.size());
    Random r(uint64_t(n_heads * 1000 + head_dim * 64 + slot));
    for (size_t i = 0; i < k.size(); i++) k[i] = half_edge(r);
    for (size_t i = 0; i < v.size(); i++) v[i] = half_edge(r);
    const Output<uint8_t> page(layout.bytes);
    KVStoreArgs a = store_args(layout, n_heads, head_dim, f16);
    a.k = k.data();
    a.v = v.data();
    a.page = page.data();
    a.slot = slot;
    run.k.kv_store(a);
    run.result("page", page.data(), page.size());
    page.check_strips(run, "page");
    if (!run.reference()) return;
    std::vector<uint8_t> expected(layout.bytes, kCanary);
    const auto put = [&](size_t at, float x, const char* what) {
        const double got = stored(page.data() + at, f16);
        run.within(what, at, got, f16 ? nearest_half(x) : x, 0);
        run.require(std::signbit(got) == std::signbit(x), text("%s: the sign of a zero", what));
        std::memcpy(&expected[at], page.data() + at, layout.element);
    };
    for (int h = 0; h < n_heads; h++)
        for (int i = 0; i < layout.value_stride; i++) {
            const size_t at = size_t(h * head_dim + i);
            if (i < head_dim) put(layout.key_at(h, slot, head_dim, i), k[at], "key");
            put(layout.value_at(h, slot, i), i < head_dim ? v[at] : 0.0f, "value");
        }
    run.require(std::memcmp(expected.data(), page.data(), layout.bytes) == 0, "bytes of other positions were touched");
}

// A sequence: keys and values of one kv head in pages, queries of `group` heads for its last n_tokens positions.
struct AttentionCase {
    int64_t first_position, n_tokens;
    int group;
    int64_t window;
};

constexpr AttentionCase kCases[] = {
    {0, 1, 1, 0},    {0, 1, 4, 0},   {63, 1, 3, 0},   {64, 1, 8, 0},    {65, 1, 4, 1},  {200, 1, 3, 0},
    {200, 1, 8, 64}, {0, 21, 3, 0},  {60, 11, 4, 0},  {120, 10, 1, 16}, {190, 7, 8, 0}, {190, 5, 3, 100},
    {62, 3, 1, 3},   {129, 2, 4, 2}, {127, 1, 1, 64}, {128, 1, 1, 65},
};

class Sequence {
  public:
    Sequence(const KernelTable& k, const AttentionCase& c, int head_dim, bool f16, Profile profile, uint64_t stream);

    int64_t rows() const { return c_.n_tokens * c_.group; }
    // A head of another group lies on either side of the group's.
    int64_t token_stride() const { return int64_t(c_.group + 2) * head_dim_; }
    size_t output_size() const { return size_t(c_.n_tokens * token_stride()); }
    void run(float* out, int64_t first_row, int64_t n_rows);
    const float* row(const float* out, int64_t r) const {
        return out + r / c_.group * token_stride() + (r % c_.group + 1) * head_dim_;
    }
    bool others_untouched(const float* out) const;
    void judge(Run& run, const float* out) const;

  private:
    double key(int64_t position, int i) const {
        return stored(page(position) + layout_.key_at(kHead, int(position % kPageTokens), head_dim_, i), f16_);
    }
    double value(int64_t position, int i) const {
        return stored(page(position) + layout_.value_at(kHead, int(position % kPageTokens), i), f16_);
    }
    const uint8_t* page(int64_t position) const { return page_pointers_[size_t(position / kPageTokens)]; }

    static constexpr int kHeads = 2, kHead = 1;
    const KernelTable& k_;
    AttentionCase c_;
    int head_dim_;
    bool f16_;
    PageLayout layout_;
    std::vector<Array<uint8_t>> pages_;
    std::vector<uint8_t*> page_pointers_;
    Array<float> q_, scratch_;
    float scale_;
};

void fill_position(Profile profile, uint64_t stream, const Array<float>& keys, const Array<float>& values) {
    Random r(stream);
    const bool extreme = profile == Profile::kExtreme;
    for (size_t i = 0; i < keys.size(); i++) keys[i] = random_float(r, -6, extreme ? 12 : 1);
    for (size_t i = 0; i < values.size(); i++) {
        values[i] = extreme ? random_float(r, -20, 12) : random_float(r, -6, 1);
        // Some elements have zeros and denormals only: their sums underflow, and the sign of a zero shows.
        if (extreme && i % 5 == 0) values[i] = float_from_bits(r.next() & 0x80000003);
    }
}

Sequence::Sequence(const KernelTable& k, const AttentionCase& c, int head_dim, bool f16, Profile profile,
                   uint64_t stream)
    : k_(k),
      c_(c),
      head_dim_(head_dim),
      f16_(f16),
      layout_(kHeads, head_dim, f16),
      q_(output_size() - size_t(head_dim)),  // ends with the last row, so that a read past it meets the guard
      scratch_(pyruntime::attention_scratch_floats(head_dim)),
      scale_(float_from_bits(0x3e000000 + uint32_t(head_dim))) {  // near 1/8, and no power of two
    const int64_t n = c.first_position + c.n_tokens;
    const Array<float> keys(size_t(kHeads * head_dim)), values(keys.size());
    KVStoreArgs a = store_args(layout_, kHeads, head_dim, f16);
    a.k = keys.data();
    a.v = values.data();
    for (int64_t position = 0; position < n; position++) {
        if (position % kPageTokens == 0) {
            pages_.emplace_back(layout_.bytes);
            pages_.back().fill_bytes(0xff);  // NaNs where nothing was stored
            page_pointers_.push_back(pages_.back().data());
        }
        fill_position(profile, stream * 4096 + uint64_t(position), keys, values);
        a.page = page_pointers_.back();
        a.slot = int(position % kPageTokens);
        k.kv_store(a);
    }
    // Of the extreme rows, those of every seventh token hold an infinity or a NaN.
    const float* end = q_.data() + q_.size();
    for (int64_t t = 0; t < c.n_tokens; t++) {
        float* q = q_.data() + t * token_stride();
        const size_t n_left = size_t(end - q), row = size_t(t + c.first_position % 7);
        fill_row(profile, stream + 1, row, q, std::min(n_left, size_t(token_stride())));
    }
}

void Sequence::run(float* out, int64_t first_row, int64_t n_rows) {
    AttentionArgs a = {};
    a.q = q_.data() + head_dim_;
    a.q_token_stride = token_stride();
    a.out = out + head_dim_;
    a.out_token_stride = token_stride();
    a.first_row = first_row;
    a.n_rows = n_rows;
    a.group = c_.group;
    a.head_dim = head_dim_;
    a.first_position = c_.first_position;
    a.window = c_.window;
    a.scale = scale_;
    a.pages = page_pointers_.data();
    a.key_offset = layout_.key_offset + kHead * layout_.key_head_bytes;
    a.value_offset = layout_.value_offset + kHead * layout_.value_head_bytes;
    a.f16 = f16_;
    a.scratch = scratch_.data();
    scratch_.fill_bytes(0xff);
    k_.attention(a);
}

bool Sequence::others_untouched(const float* out) const {
    const std::vector<uint8_t> canaries(size_t(head_dim_) * 4, kCanary);
    for (int64_t t = 0; t < c_.n_tokens; t++)
        for (int64_t head : {0, c_.group + 1})
            if (std::memcmp(out + t * token_stride() + head * head_dim_, canaries.data(), canaries.size()))
                return false;
    return true;
}

void Sequence::judge(Run& run, const float* out) const {
    for (int64_t r = 0; r < rows(); r++) {
        const int64_t position = c_.first_position + r / c_.group;
        const int64_t oldest = c_.window ? std::max<int64_t>(0, position - c_.window + 1) : 0;
        const float* q = row(q_.data(), r);
        std::vector<double> scores;
        double largest = -INFINITY, score_error = 0, total = 0;
        for (int64_t j = oldest; j <= position; j++) {
            double s = 0, magnitude = 0;
            for (int i = 0; i < head_dim_; i++) {
                s += q[i] * key(j, i);
                magnitude += std::fabs(q[i] * key(j, i));
            }
            scores.push_back(s * scale_);
            largest = std::max(largest, scores.back());
            score_error = std::max(score_error, chain_budget(head_dim_ + 2, magnitude * scale_));
        }
        for (double s : scores) total += std::exp(s - largest);
        // An error of the scores moves each weight by that share and the sum of the weights by as much again.
        const double n_chunks = double(position / kPageTokens - oldest / kPageTokens + 1);
        const double share = 2 * (score_error + n_chunks * kSoftmaxChunk) + chain_budget(kPageTokens, 1);
        for (int i = 0; i < head_dim_; i++) {
            double expected = 0, magnitude = 0;
            for (int64_t j = oldest; j <= position; j++) {
                const double term = std::exp(scores[size_t(j - oldest)] - largest) / total * value(j, i);
                expected += term;
                magnitude += std::fabs(term);
            }
            run.within("out", size_t(r * head_dim_ + i), row(out, r)[i], expected, share * magnitude);
        }
    }
}

void check_one_attention(Run& run, const AttentionCase& c, int head_dim, bool f16, Profile profile, uint64_t stream) {
    const std::string name =
        text("attention %s positions %d..%d group %d head_dim %d window %d %s",
             profile == Profile::kOrdinary ? "ordinary" : "extreme", int(c.first_position),
             int(c.first_position + c.n_tokens - 1), c.group, head_dim, int(c.window), f16 ? "f16" : "f32");
    Sequence s(run.k, c, head_dim, f16, profile, stream);
    run.begin(name);
    const Output<float> whole(s.output_size());
    s.run(whole.data(), 0, s.rows());
    for (int64_t r = 0; r < s.rows(); r++) run.result("out", s.row(whole.data(), r), size_t(head_dim));
    whole.check_strips(run, "out");
    run.require(s.others_untouched(whole.data()), "out: heads of another group were written to");
    if (run.reference() && profile == Profile::kOrdinary) s.judge(run, whole.data());

    const Output<float> parts(s.output_size());
    for (int64_t n : {1, 3, 5}) {
        run.begin(text("%s, %d rows at a time", name.c_str(), int(n)));
        std::memset(parts.data(), kCanary, parts.size() * 4);
        for (int64_t r = 0; r < s.rows(); r += n) s.run(parts.data(), r, std::min(n, s.rows() - r));
        parts.check_strips(run, "out");
        run.require(s.others_untouched(parts.data()), "out: heads of another group were written to");
        for (int64_t r = 0; r < s.rows(); r++)
            run.same("all rows at once", s.row(parts.data(), r), s.row(whole.data(), r), size_t(head_dim));
    }
}

void check_one_rope(Run& run, int n_heads, int head_dim, int n_rot, bool neox) {
    run.begin(text("rope heads %d head_dim %d n_rot %d %s", n_heads, head_dim, n_rot, neox ? "neox" : "norm"));
    const size_t n = size_t(n_heads * head_dim);
    const Array<float> cos_sin{size_t(n_rot)}, before(n);
    Random r(uint64_t(head_dim * 1000 + n_rot * 2 + neox));
    for (size_t i = 0; i < cos_sin.size(); i++) cos_sin[i] = random_float(r, -12, -1);
    fill_row(n_heads == 2 ? Profile::kExtreme : Profile::kOrdinary, 51, size_t(n_rot), before.data(), n);
    const Output<float> x(n);
    std::memcpy(x.data(), before.data(), 4 * n);
    run.k.rope({x.data(), cos_sin.data(), n_heads, head_dim, n_rot, neox});
    run.result("x", x.data(), n);
    x.check_strips(run, "x");
    const int half = n_rot / 2;
    for (int h = 0; h < n_heads; h++) {
        const size_t head = size_t(h * head_dim);
        run.same("elements from n_rot on", x.data() + head + n_rot, before.data() + head + n_rot,
                 size_t(head_dim - n_rot));
        for (int i = 0; run.reference() && n_heads != 2 && i < half; i++) {
            const size_t first = head + size_t(neox ? i : 2 * i), second = head + size_t(neox ? i + half : 2 * i + 1);
            const double a = before[first], b = before[second], c = cos_sin[size_t(i)], s = cos_sin[size_t(i + half)];
            run.within("x", first, x[first], a * c - b * s,
                       chain_budget(kRopeRoundings, std::fabs(a * c) + std::fabs(b * s)));
            run.within("x", second, x[second], a * s + b * c,
                       chain_budget(kRopeRoundings, std::fabs(a * s) + std::fabs(b * c)));
        }
    }
}

}  // namespace

void check_rope(Run& run) {
    for (int head_dim : kHeadDims)
        for (int n_rot : {head_dim, head_dim / 2, 2, 10})
            for (int n_heads : {1, 2, 3})
                for (bool neox : {false, true}) check_one_rope(run, n_heads, head_dim, n_rot, neox);
}

void check_kv_store(Run& run) {
    for (int head_dim : kHeadDims)
        for (int n_heads : {1, 3})
            for (int slot : {0, 1, 15, 16, 47, 63})
                for (bool f16 : {false, true}) check_one_store(run, n_heads, head_dim, slot, f16);
}

void check_attention(Run& run) {
    uint64_t stream = 0;
    for (const AttentionCase& c : kCases)
        for (int head_dim : kHeadDims)
            for (bool f16 : {false, true})
                for (Profile profile : {Profile::kOrdinary, Profile::kExtreme})
                    check_one_attention(run, c, head_dim, f16, profile, stream += 10);
}

}  // namespace kernel_check
