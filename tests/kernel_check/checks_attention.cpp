// Rotary embedding, and attention over pages.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <vector>

#include "buffers.h"
#include "check.h"
#include "inputs.h"
#include "kv_pages.h"
#include "reference.h"

namespace kernel_check {

using pyruntime::AttentionArgs;
using pyruntime::kPageTokens;
using pyruntime::RopeArgs;

namespace {

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

// What happens to the scores.
struct ScoreOptions {
    const char* name;
    float softcap;
    bool alibi, sinks;
};
constexpr ScoreOptions kPlain = {"", 0, false, false};
constexpr ScoreOptions kOptions[] = {{" softcap", 1.3f, false, false},
                                     {" alibi", 0, true, false},
                                     {" sinks", 0, false, true},
                                     {" all", 0.7f, true, true}};

class Sequence {
  public:
    Sequence(const KernelTable& k, const AttentionCase& c, const KVShape& shape, const ScoreOptions& options,
             Profile profile, uint64_t stream);

    int64_t rows() const { return c_.n_tokens * c_.group; }
    // A head of another group lies on either side of the group's.
    int64_t stride(int dim) const { return int64_t(c_.group + 2) * dim; }
    const float* row(const float* heads, int dim, int64_t r) const {
        return heads + r / c_.group * stride(dim) + (r % c_.group + 1) * dim;
    }
    size_t output_size() const { return size_t(c_.n_tokens * stride(shape_.value_dim)); }
    const float* output(const float* out, int64_t r) const { return row(out, shape_.value_dim, r); }
    AttentionArgs args(float* out, int64_t first_row, int64_t n_rows);
    void run(float* out, int64_t first_row, int64_t n_rows);
    void run_in_spans(float* out, int64_t first_row, int64_t n_rows, int64_t span);
    bool others_untouched(const float* out) const;
    void judge(Run& run, const float* out) const;

  private:
    double key(int64_t position, int i) const {
        return layout_.read(page(position), layout_.key(kHead, int(position % kPageTokens), i));
    }
    double value(int64_t position, int i) const {
        return layout_.read(page(position), layout_.value(kHead, int(position % kPageTokens), i));
    }
    const uint8_t* page(int64_t position) const { return page_pointers_[size_t(position / kPageTokens)]; }
    void store(Profile profile, uint64_t stream);
    struct Scores {
        std::vector<double> s;  // of the keys seen
        double largest, error;
    };
    std::vector<double> query(const float* q) const;
    Scores scores(int64_t r, int64_t position, int64_t oldest) const;

    static constexpr int kHead = 1;  // of two
    const KernelTable& k_;
    AttentionCase c_;
    KVShape shape_;
    ScoreOptions options_;
    PageLayout layout_;
    std::vector<Array<uint8_t>> pages_;
    std::vector<uint8_t*> page_pointers_;
    Array<float> q_, slopes_, sinks_, scratch_;
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

Sequence::Sequence(const KernelTable& k, const AttentionCase& c, const KVShape& shape, const ScoreOptions& options,
                   Profile profile, uint64_t stream)
    : k_(k),
      c_(c),
      shape_(shape),
      options_(options),
      layout_(shape),
      // ends with the last row, so that a read past it meets the guard
      q_(size_t(c.n_tokens * stride(shape.head_dim)) - size_t(shape.head_dim)),
      slopes_(size_t(c.group)),
      sinks_(size_t(c.group)),
      scratch_(pyruntime::attention_scratch_floats(shape.head_dim, shape.value_dim)),
      scale_(float_from_bits(0x3e000000 + uint32_t(shape.head_dim))) {  // near 1/8, and no power of two
    store(profile, stream);
    Random r(stream + 2);
    for (size_t i = 0; i < slopes_.size(); i++) {
        slopes_[i] = std::fabs(random_float(r, -9, -1));
        sinks_[i] = random_float(r, -2, 2);
    }
    // Of the extreme rows, those of every seventh token hold an infinity or a NaN.
    const float* end = q_.data() + q_.size();
    for (int64_t t = 0; t < c.n_tokens; t++) {
        float* q = q_.data() + t * stride(shape.head_dim);
        const size_t n_left = size_t(end - q), row = size_t(t + c.first_position % 7);
        fill_row(profile, stream + 1, row, q, std::min(n_left, size_t(stride(shape.head_dim))));
    }
}

void Sequence::store(Profile profile, uint64_t stream) {
    const Array<float> keys(size_t(shape_.n_heads * shape_.head_dim)),
        values(size_t(shape_.n_heads * shape_.value_dim));
    KVStoreArgs a = layout_.store_args();
    a.k = keys.data();
    a.v = values.data();
    for (int64_t position = 0; position < c_.first_position + c_.n_tokens; position++) {
        if (position % kPageTokens == 0) {
            pages_.emplace_back(layout_.bytes);
            pages_.back().fill_bytes(0xff);  // NaNs where nothing was stored
            page_pointers_.push_back(pages_.back().data());
        }
        fill_position(profile, stream * 4096 + uint64_t(position), keys, values);
        a.page = page_pointers_.back();
        a.slot = int(position % kPageTokens);
        k_.kv_store(a);
    }
}

AttentionArgs Sequence::args(float* out, int64_t first_row, int64_t n_rows) {
    AttentionArgs a = {};
    a.q = q_.data() + shape_.head_dim;
    a.q_token_stride = stride(shape_.head_dim);
    a.out = out + shape_.value_dim;
    a.out_token_stride = stride(shape_.value_dim);
    a.first_row = first_row;
    a.n_rows = n_rows;
    a.group = c_.group;
    a.head_dim = shape_.head_dim;
    a.value_dim = shape_.value_dim;
    a.first_position = c_.first_position;
    a.window = c_.window;
    a.scale = scale_;
    a.softcap = options_.softcap;
    if (options_.alibi) a.slopes = slopes_.data();
    if (options_.sinks) a.sinks = sinks_.data();
    a.pages = page_pointers_.data();
    a.key_offset = layout_.key_offset + kHead * layout_.key_head_bytes;
    a.value_offset = shape_.latent ? a.key_offset : layout_.value_offset + kHead * layout_.value_head_bytes;
    a.type = shape_.type;
    a.latent = shape_.latent;
    a.streams = n_rows % 2 != 0;  // a hint
    a.scratch = scratch_.data();
    scratch_.fill_bytes(0xff);
    return a;
}

void Sequence::run(float* out, int64_t first_row, int64_t n_rows) { k_.attention(args(out, first_row, n_rows)); }

// In spans of so many pages, the last first.
void Sequence::run_in_spans(float* out, int64_t first_row, int64_t n_rows, int64_t span) {
    AttentionArgs a = args(out, first_row, n_rows);
    const pyruntime::PageRange pages = pyruntime::pages_seen(a);
    Array<float> partials(size_t(pages.last - pages.first) *
                          pyruntime::attention_partial_floats(n_rows, shape_.value_dim));
    partials.fill_bytes(0xff);
    a.partials = partials.data();
    for (int64_t last = pages.last; last > pages.first; last -= span) {
        scratch_.fill_bytes(0xff);
        k_.attention_chunks(a, std::max(pages.first, last - span), last);
    }
    scratch_.fill_bytes(0xff);
    k_.attention_combine(a);
}

bool Sequence::others_untouched(const float* out) const {
    const std::vector<uint8_t> canaries(size_t(shape_.value_dim) * 4, kCanary);
    for (int64_t t = 0; t < c_.n_tokens; t++)
        for (int64_t head : {0, c_.group + 1})
            if (std::memcmp(out + t * stride(shape_.value_dim) + head * shape_.value_dim, canaries.data(),
                            canaries.size()))
                return false;
    return true;
}

// A query as it is multiplied: quantized for the keys of a q8_0 cache, unless it is latent.
std::vector<double> Sequence::query(const float* q) const {
    const auto n = size_t(shape_.head_dim);
    std::vector<double> x(q, q + n);
    if (shape_.type != KVType::q8_0 || shape_.latent) return x;
    const size_t blocks = (n + 31) / 32;
    std::vector<float> padded(blocks * 32), d(blocks), e(blocks);
    std::vector<int8_t> codes(blocks * 32);
    std::vector<pyruntime::BlockSums> sums(blocks);
    std::copy(q, q + n, padded.begin());
    k_.quantize(padded.data(), int64_t(padded.size()), codes.data(), d.data(), e.data(), sums.data());
    for (size_t i = 0; i < n; i++) x[i] = codes[i] * double(d[i / 32]);
    return x;
}

Sequence::Scores Sequence::scores(int64_t r, int64_t position, int64_t oldest) const {
    Scores found = {{}, -INFINITY, 0};
    const std::vector<double> q = query(row(q_.data(), shape_.head_dim, r));
    for (int64_t j = oldest; j <= position; j++) {
        double s = 0, magnitude = 0;
        for (int i = 0; i < shape_.head_dim; i++) {
            const double product = q[size_t(i)] * key(j, i);
            s += product;
            magnitude += std::fabs(product);
        }
        s *= scale_;
        double error = chain_budget(shape_.head_dim + 2, magnitude * scale_);
        if (options_.softcap > 0) {
            s = options_.softcap * std::tanh(s / options_.softcap);
            error += (kTanh + 3 * kUlp) * std::fabs(s);
        }
        if (options_.alibi) {
            s -= slopes_[size_t(r % c_.group)] * double(position - j);
            error += kUlp * std::fabs(s);
        }
        found.s.push_back(s);
        found.largest = std::max(found.largest, s);
        found.error = std::max(found.error, error);
    }
    return found;
}

void Sequence::judge(Run& run, const float* out) const {
    for (int64_t r = 0; r < rows(); r++) {
        const int64_t position = c_.first_position + r / c_.group;
        const int64_t oldest = c_.window ? std::max<int64_t>(0, position - c_.window + 1) : 0;
        const Scores scores = this->scores(r, position, oldest);
        const double sink = options_.sinks ? double(sinks_[size_t(r % c_.group)]) : -INFINITY;
        const double largest = std::max(scores.largest, sink);
        double total = std::exp(sink - largest);
        for (double s : scores.s) total += std::exp(s - largest);
        // An error of the scores moves each weight by that share and the sum of the weights by as much again.
        const double n_chunks = double(position / kPageTokens - oldest / kPageTokens + 1) + options_.sinks;
        const double share = 2 * (scores.error + n_chunks * kSoftmaxChunk) + chain_budget(kPageTokens, 1);
        for (int i = 0; i < shape_.value_dim; i++) {
            double expected = 0, magnitude = 0;
            for (int64_t j = oldest; j <= position; j++) {
                const double term = std::exp(scores.s[size_t(j - oldest)] - largest) / total * value(j, i);
                expected += term;
                magnitude += std::fabs(term);
            }
            run.within("out", size_t(r * shape_.value_dim + i), output(out, r)[i], expected, share * magnitude);
        }
    }
}

void check_one_attention(Run& run, const AttentionCase& c, const KVShape& shape, const ScoreOptions& options,
                         Profile profile, uint64_t stream) {
    const std::string name =
        text("attention %s positions %d..%d group %d window %d %s%s",
             profile == Profile::kOrdinary ? "ordinary" : "extreme", int(c.first_position),
             int(c.first_position + c.n_tokens - 1), c.group, int(c.window), shape.name().c_str(), options.name);
    Sequence s(run.k, c, shape, options, profile, stream);
    const auto n = size_t(shape.value_dim);
    run.begin(name);
    const Output<float> whole(s.output_size());
    s.run(whole.data(), 0, s.rows());
    for (int64_t r = 0; r < s.rows(); r++) run.result("out", s.output(whole.data(), r), n);
    whole.check_strips(run, "out");
    run.require(s.others_untouched(whole.data()), "out: heads of another group were written to");
    if (run.reference() && profile == Profile::kOrdinary) s.judge(run, whole.data());

    const Output<float> parts(s.output_size());
    for (int64_t step : {1, 3, 5}) {
        run.begin(text("%s, %d rows at a time", name.c_str(), int(step)));
        std::memset(parts.data(), kCanary, parts.size() * 4);
        for (int64_t r = 0; r < s.rows(); r += step) s.run(parts.data(), r, std::min(step, s.rows() - r));
        parts.check_strips(run, "out");
        run.require(s.others_untouched(parts.data()), "out: heads of another group were written to");
        for (int64_t r = 0; r < s.rows(); r++)
            run.same("all rows at once", s.output(parts.data(), r), s.output(whole.data(), r), n);
    }
    for (int64_t span : {1, 3}) {
        run.begin(text("%s, %d pages at a time", name.c_str(), int(span)));
        std::memset(parts.data(), kCanary, parts.size() * 4);
        const int64_t tile = run.k.attention_tile;
        for (int64_t r = 0; r < s.rows(); r += tile)
            s.run_in_spans(parts.data(), r, std::min(tile, s.rows() - r), span);
        parts.check_strips(run, "out");
        run.require(s.others_untouched(parts.data()), "out: heads of another group were written to");
        for (int64_t r = 0; r < s.rows(); r++)
            run.same("all pages in order", s.output(parts.data(), r), s.output(whole.data(), r), n);
    }
}

constexpr int kDims[][2] = {{16, 16}, {64, 64}, {72, 24}, {80, 112}, {128, 128}, {192, 130}};
constexpr int kLatentDims[][2] = {{64, 64}, {72, 24}, {140, 100}, {288, 256}};
constexpr int kHeadDims[] = {16, 64, 72, 80, 128};

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

void check_attention(Run& run) {
    uint64_t n = 0;
    const auto check = [&](const AttentionCase& c, const KVShape& shape) {
        for (Profile profile : {Profile::kOrdinary, Profile::kExtreme}) {
            check_one_attention(run, c, shape, kPlain, profile, 10 * ++n);
            // Each shape and profile meets each of the options, as the cases go by.
            check_one_attention(run, c, shape, kOptions[(n + n / 2 + size_t(&c - kCases)) % 4], profile, 10 * n);
        }
    };
    for (const AttentionCase& c : kCases)
        for (KVType type : {KVType::f32, KVType::f16, KVType::q8_0}) {
            for (const auto& dims : kDims) check(c, {/*n_heads=*/2, dims[0], dims[1], type});
            for (const auto& dims : kLatentDims) check(c, {/*n_heads=*/2, dims[0], dims[1], type, /*latent=*/true});
        }
}

}  // namespace kernel_check
