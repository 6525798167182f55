// Products: every format, plain, with a residual and gated, straight from the packed weights and over a panel.
#include <cmath>
#include <vector>

#include "buffers.h"
#include "check.h"
#include "formats/pack.h"
#include "inputs.h"
#include "reference_formats.h"

namespace kernel_check {

namespace formats = pyruntime::formats;
using pyruntime::BlockSums;
using pyruntime::kLanes;
using pyruntime::MatmulArgs;
using pyruntime::PackedView;
using pyruntime::QuantizedRows;

namespace {

enum Mode { kPlain, kResidual, kGated, kBias, kBiasResidual, kGatedBias };
constexpr const char* kModeNames[] = {"plain", "residual", "gated", "bias", "bias, residual", "gated with biases"};

bool is_gated(Mode mode) { return mode == kGated || mode == kGatedBias; }
bool has_residual(Mode mode) { return mode == kResidual || mode == kBiasResidual; }
bool has_bias(Mode mode) { return mode == kBias || mode == kBiasResidual || mode == kGatedBias; }
constexpr const char* kProfileNames[] = {"ordinary", "extreme"};

struct Shape {
    int64_t rows, cols;
    std::vector<int64_t> tokens;  // ascending; the last is the batch that the others are compared with
};

// Around the widths of groups and tiles (4, 6, 8 and 12 tokens), and the step from direct to panel (after 8 or 16).
const std::vector<Shape> kShapes = {
    {1, 32, {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 40}},
    {15, 64, {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 40}},
    {16, 96, {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 40}},
    {17, 64, {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 40}},
    {33, 96, {1, 4, 5, 8, 9, 16, 17, 25}},
    {31, 576, {1, 2, 3, 4, 5, 11, 17}},
    {17, 1536, {1, 4, 9, 17}},
};
// Of the formats of blocks of 256.
const std::vector<Shape> kWideShapes = {
    {1, 256, {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 40}},
    {16, 512, {1, 2, 3, 4, 5, 8, 9, 13, 17, 25}},
    {33, 256, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22}},
    {31, 768, {1, 4, 9, 17}},
    {17, 1536, {1, 4, 9, 17}},
};
const std::vector<Shape> kFloatShapes = {
    {5, 1, {1, 3, 4, 5, 13}}, {18, 7, {1, 3, 4, 5, 13}}, {33, 45, {1, 3, 4, 5, 13}}};
// A thread keeps the sums of kPanelTokens; those left are as few as are multiplied directly.
const Shape kManyTokens = {33, 32, {1, pyruntime::kPanelTokens + 1, pyruntime::kPanelTokens + 5}};

int64_t block_size(uint32_t type) { return formats::find_type(type)->n_block; }
bool is_quantized(uint32_t type) { return block_size(type) > 1; }

// Random rows as a file holds them, and packed.
struct Weights {
    Weights(uint32_t type, int64_t rows, int64_t cols, Profile profile, uint64_t stream);
    PackedView view() const { return {type, rows, cols, packed.data(), group_bytes}; }
    const uint8_t* row(int64_t r) const { return raw.data() + r * int64_t(row_bytes); }

    uint32_t type;
    int64_t rows, cols;
    size_t row_bytes, group_bytes;
    std::vector<uint8_t> raw;
    Array<uint8_t> packed;
};

void put_half(uint8_t* p, Random& r, Profile profile) {
    const uint16_t h = profile == Profile::kOrdinary ? ordinary_half(r) : extreme_half(r);
    std::memcpy(p, &h, 2);
}

void fill_quantized(uint32_t type, size_t n_bytes, Random& r, Profile profile, std::vector<uint8_t>& raw) {
    for (uint8_t* p = raw.data(); p < raw.data() + raw.size(); p += n_bytes) {
        for (size_t i = 0; i < n_bytes; i++) p[i] = uint8_t(r.next());
        // Every byte -128, 127, or all bits set: with activations of +-127 these are the largest sums there are.
        static constexpr uint8_t kBytes[] = {0x80, 0x7f, 0xff, 0x00};
        if (profile == Profile::kExtreme && r.below(3) == 0) std::memset(p, kBytes[r.below(4)], n_bytes);
        for (int at : half_offsets(type)) put_half(p + at, r, profile);
        // 255 is refused; 0 and 1 are denormal.
        if (type == formats::MXFP4) p[0] = uint8_t(profile == Profile::kOrdinary ? 118 + r.below(8) : r.below(255));
        if (type == formats::MXFP4 && profile == Profile::kExtreme && r.below(4) == 0) p[0] = uint8_t(r.below(3));
    }
}

void fill_floats(uint32_t type, size_t n_bytes, Random& r, Profile profile, std::vector<uint8_t>& raw) {
    for (uint8_t* p = raw.data(); p < raw.data() + raw.size(); p += n_bytes) {
        if (type == formats::F16) {
            put_half(p, r, profile);
            continue;
        }
        const float f = profile == Profile::kOrdinary ? ordinary_float(r) : extreme_finite(r);
        uint32_t bits;
        std::memcpy(&bits, &f, 4);
        if (type == formats::BF16) bits >>= 16;
        std::memcpy(p, &bits, n_bytes);
    }
}

Weights::Weights(uint32_t type_, int64_t rows_, int64_t cols_, Profile profile, uint64_t stream)
    : type(type_),
      rows(rows_),
      cols(cols_),
      row_bytes(size_t(cols) / formats::find_type(type)->n_block * formats::find_type(type)->n_bytes),
      group_bytes(formats::group_bytes(type, size_t(cols))),
      raw(size_t(rows) * row_bytes),
      packed(size_t((rows + kLanes - 1) / kLanes) * group_bytes) {
    Random r(stream);
    const size_t n_bytes = formats::find_type(type)->n_bytes;
    is_quantized(type) ? fill_quantized(type, n_bytes, r, profile, raw) : fill_floats(type, n_bytes, r, profile, raw);
    for (int64_t first = 0; first < rows; first += kLanes) {
        const int n = int(rows - first < kLanes ? rows - first : kLanes);
        formats::pack_group(type, row(first), n, size_t(cols), packed.data() + size_t(first / kLanes) * group_bytes);
    }
}

// All that a product reads, for n_tokens of one shape, and ways to run parts of it.
class Product {
  public:
    Product(const KernelTable& k, uint32_t type, const Shape& shape, Profile profile, Mode mode, uint64_t stream)
        : k_(k),
          mode_(mode),
          n_tokens_(shape.tokens.back()),
          stride_(shape.rows + 5),
          w_(type, shape.rows, shape.cols, profile, stream),
          up_(type, shape.rows, shape.cols, profile, stream + 1),
          x_(size_t(n_tokens_ * shape.cols)),
          residual_(size_t(output_size(n_tokens_))),
          bias_(size_t(shape.rows)),
          up_bias_(size_t(shape.rows)),
          q_(x_.size()),
          d_(size_t(n_tokens_ * blocks())),
          e_(d_.size()),
          sums_(d_.size()),
          scratch_(pyruntime::kMatmulScratchBytes) {
        for (int64_t t = 0; t < n_tokens_; t++) {
            fill_row(profile, stream + 2, size_t(t), x_.data() + t * shape.cols, size_t(shape.cols));
            if (blocks())
                k.quantize(x_.data() + t * shape.cols, shape.cols, q_.data() + t * shape.cols, d_.data() + t * blocks(),
                           e_.data() + t * blocks(), sums_.data() + t * blocks());
        }
        fill_row(profile, stream + 3, 0, residual_.data(), residual_.size());
        fill_row(Profile::kOrdinary, stream + 4, 0, bias_.data(), bias_.size());
        fill_row(Profile::kOrdinary, stream + 5, 0, up_bias_.data(), up_bias_.size());
    }

    int64_t rows() const { return w_.rows; }
    int64_t stride() const { return stride_; }
    int64_t groups() const { return (rows() + kLanes - 1) / kLanes; }
    int64_t output_size(int64_t n) const { return (n - 1) * stride_ + rows(); }
    const float* residual() const { return residual_.data(); }

    // Tokens first .. first + n of the batch into y. Where `residual` is given, it stands for that of token `first`.
    void run(int64_t first, int64_t n, float* y, int64_t first_group, int64_t last_group, const float* residual) {
        MatmulArgs a = {};
        a.w = w_.view();
        if (is_gated(mode_)) a.up = up_.view();
        if (has_bias(mode_)) a.bias = bias_.data();
        if (mode_ == kGatedBias) a.up_bias = up_bias_.data();
        a.activation = pyruntime::kSilu;
        a.n_tokens = n;
        a.x = x_.data() + first * w_.cols;
        a.xq = {q_.data() + first * w_.cols, d_.data() + first * blocks(), e_.data() + first * blocks(),
                sums_.data() + first * blocks()};
        if (has_residual(mode_)) a.residual = residual ? residual : residual_.data() + first * stride_;
        a.y = y;
        a.y_stride = stride_;
        a.scratch = scratch_.data();
        scratch_.fill_bytes(0xff);  // NaNs: what is read was written
        k_.matmul(a, first_group, last_group);
    }
    void run(int64_t first, int64_t n, float* y) { run(first, n, y, 0, groups(), nullptr); }

    void judge(Run& run, const float* y) const;

  private:
    struct Sum {
        double value, magnitude, roundings;
    };
    int64_t blocks() const { return is_quantized(w_.type) ? w_.cols / 32 : 0; }
    Sum dot(const Weights& w, int64_t row, int64_t token) const;

    const KernelTable& k_;
    Mode mode_;
    int64_t n_tokens_, stride_;
    Weights w_, up_;
    Array<float> x_, residual_, bias_, up_bias_;
    Array<int8_t> q_;
    Array<float> d_, e_;
    Array<BlockSums> sums_;
    Array<uint8_t> scratch_;
};

Product::Sum Product::dot(const Weights& w, int64_t row, int64_t token) const {
    Sum s = {0, 0, 1};
    const auto add = [&](double term) {
        s.value += term;
        s.magnitude += std::fabs(term);
        s.roundings += 1;
    };
    for (int64_t b = 0; b < blocks(); b++) {
        const Block block = read_block(w.type, w.row(row), b);
        const int8_t* q = q_.data() + token * w.cols + 32 * b;
        double products = 0, mins = 0;
        for (size_t i = 0; i < 32; i++) {
            products += block.scale[i / 16] * block.q[i] * q[i];
            mins += block.min[i / 16] * q[i];
        }
        const double d = d_[size_t(token * blocks() + b)];
        add(block.d * d * products);
        if (half_offsets(w.type).size() > 1) add(block.m * d * mins);
    }
    if (!blocks())
        for (int64_t k = 0; k < w.cols; k++)
            add(read_float(w.type, w.row(row), size_t(k)) * x_[size_t(token * w.cols + k)]);
    return s;
}

void Product::judge(Run& run, const float* y) const {
    struct Judged {
        double value, budget;
    };
    const auto sum = [](const Sum& s, const float* bias) {  // of a product with its bias
        Judged judged{s.value, chain_budget(s.roundings, s.magnitude)};
        if (!bias) return judged;
        judged.value += *bias;
        judged.budget += chain_budget(1, std::fabs(judged.value) + judged.budget);
        return judged;
    };
    for (int64_t t = 0; t < n_tokens_; t++)
        for (int64_t r = 0; r < rows(); r++) {
            const size_t at = size_t(t * stride_ + r);
            Judged judged = sum(dot(w_, r, t), has_bias(mode_) ? &bias_[size_t(r)] : nullptr);
            if (has_residual(mode_)) {
                judged.value += residual_[at];
                judged.budget += chain_budget(1, std::fabs(judged.value) + judged.budget);
            } else if (is_gated(mode_)) {
                const Judged up = sum(dot(up_, r, t), has_bias(mode_) ? &up_bias_[size_t(r)] : nullptr);
                const double gate = silu(judged.value),
                             gate_error = kSiluSlope * judged.budget + kSilu * std::fabs(gate);
                judged.value = gate * up.value;
                judged.budget = gate_error * std::fabs(up.value) + (std::fabs(gate) + gate_error) * up.budget +
                                chain_budget(1, std::fabs(judged.value));
            }
            run.within("y", at, y[at], judged.value, judged.budget);
        }
}

void check_gaps(Run& run, const Product& p, int64_t n, const float* y) {
    uint32_t canary;
    std::memset(&canary, kCanary, 4);
    for (int64_t t = 0; t + 1 < n; t++)
        run.require(std::memcmp(y + t * p.stride() + p.rows(), &canary, 4) == 0,
                    "y: written to past the rows of a token");
}

void same_tokens(Run& run, const char* what, const Product& p, int64_t n, const float* got, const float* expected) {
    for (int64_t t = 0; t < n; t++) run.same(what, got + t * p.stride(), expected + t * p.stride(), size_t(p.rows()));
}

// The whole batch against scalar and float64; then parts of it against the whole.
void check_product(Run& run, uint32_t type, const Shape& shape, Profile profile, Mode mode, uint64_t stream) {
    const std::string name = text("matmul %s %s %s rows %d cols %d", formats::find_type(type)->name, kModeNames[mode],
                                  kProfileNames[int(profile)], int(shape.rows), int(shape.cols));
    Product p(run.k, type, shape, profile, mode, stream);
    const int64_t all = shape.tokens.back();
    run.begin(text("%s tokens %d", name.c_str(), int(all)));
    const Output<float> whole(size_t(p.output_size(all)));
    p.run(0, all, whole.data());
    whole.check_strips(run, "y");
    check_gaps(run, p, all, whole.data());
    for (int64_t t = 0; t < all; t++) run.result("y", whole.data() + t * p.stride(), size_t(p.rows()));
    if (run.reference() && profile == Profile::kOrdinary) p.judge(run, whole.data());

    // Fewer tokens: the last ones of the batch, so that a read past the end meets the guard.
    for (int64_t n : shape.tokens) {
        if (n == all) continue;
        run.begin(text("%s tokens %d, %s", name.c_str(), int(n), n <= run.k.direct_tokens ? "direct" : "panel"));
        const Output<float> part(size_t(p.output_size(n)));
        p.run(all - n, n, part.data());
        part.check_strips(run, "y");
        check_gaps(run, p, n, part.data());
        same_tokens(run, "the same tokens in a larger batch", p, n, part.data(), whole.data() + (all - n) * p.stride());
    }
    for (int64_t t = 0; t < all; t++) {
        run.begin(text("%s token %d alone", name.c_str(), int(t)));
        const Output<float> one(size_t(p.rows()));
        p.run(t, 1, one.data());
        one.check_strips(run, "y");
        same_tokens(run, "the same token in a batch", p, 1, one.data(), whole.data() + t * p.stride());
    }
    run.begin(text("%s tokens %d, group by group from the last", name.c_str(), int(all)));
    const Output<float> split(size_t(p.output_size(all)));
    for (int64_t g = p.groups() - 1; g >= 0; g--) p.run(0, all, split.data(), g, g + 1, nullptr);
    split.check_strips(run, "y");
    same_tokens(run, "all groups at once", p, all, split.data(), whole.data());
    if (has_residual(mode)) {
        run.begin(text("%s tokens %d, in place", name.c_str(), int(all)));
        const Output<float> in_place(size_t(p.output_size(all)));
        std::memcpy(in_place.data(), p.residual(), in_place.size() * sizeof(float));
        p.run(0, all, in_place.data(), 0, p.groups(), in_place.data());
        same_tokens(run, "a residual apart from y", p, all, in_place.data(), whole.data());
    }
}

}  // namespace

void check_matmul(Run& run, uint32_t type) {
    std::vector<Shape> shapes = block_size(type) == 256 ? kWideShapes : kShapes;
    if (!is_quantized(type)) shapes.insert(shapes.end(), kFloatShapes.begin(), kFloatShapes.end());
    uint64_t stream = 1000 * type;
    for (const Shape& shape : shapes)
        for (Mode mode : {kPlain, kResidual, kGated, kBias, kBiasResidual, kGatedBias})
            for (Profile profile : {Profile::kOrdinary, Profile::kExtreme})
                check_product(run, type, shape, profile, mode, stream += 10);
    if (type != formats::Q4_0 && type != formats::F32) return;
    for (Mode mode : {kResidual, kGated, kGatedBias})
        check_product(run, type, kManyTokens, Profile::kOrdinary, mode, stream += 10);
}

}  // namespace kernel_check
