// Products with weights. The items are weight groups: threads take them from a counter.
#include <algorithm>
#include <optional>
#include <utility>

#include "engine/gather.h"
#include "engine/operands.h"
#include "formats/types.h"

namespace pyruntime {

namespace {

// Ctrl-C does not wait: so many products take 40 ms of scalar code, 100 us of AVX2.
constexpr int64_t kGrainProducts = int64_t(1) << 23;

bool is_quantized(const PackedView& w) { return formats::find_type(w.type)->n_block > 1; }

// One or more products with the same input, or a gated feed-forward's activation(x gate) * (x up).
class Linear : public Operation {
  public:
    Linear(const Operands& o, bool gated)
        : kernel_(o.context().kernels.matmul),
          direct_tokens_(o.context().kernels.direct_tokens),
          tile_groups_(o.context().kernels.tile_groups) {
        const size_t n_outputs = o.step().outputs.size();
        const bool residual = !gated && o.step().inputs.size() == 2, bias = !gated && o.flag("bias");
        if (gated)
            o.counts(1, 1, 2);
        else
            o.counts(residual ? 2 : 1, std::max<size_t>(n_outputs, 1), n_outputs * (bias ? 2 : 1));
        const Kind kind = o.input_spec(0).kind;
        float_input_ = kind == Kind::floats;
        x_ = o.input(0, kind);
        rows_ = x_.rows();
        if (residual) residual_ = o.input(1);
        for (size_t i = 0; i < n_outputs; i++) {
            Target t;
            t.y = o.output(i);
            o.require(t.y.rows() == rows_, "input and output differ in rows");
            t.args.w = product_matrix(o, i, t.y.width());
            if (gated) {
                t.args.up = product_matrix(o, 1, t.y.width());
                t.args.activation = o.integer("activation", 0, kSwigluOai, kSilu);
            }
            if (bias) t.args.bias = o.vector(n_outputs + i, t.y.width());
            if (!float_input_) t.args.xq = x_.quantized();
            t.args.y_stride = t.y.width();
            if (residual_)
                o.require(residual_->width() == t.y.width() && residual_->rows() == rows_, "the residual's shape");
            t.first = groups_;
            t.groups = groups_of(t.y.width());
            groups_ += t.groups;
            targets_.push_back(t);
        }
    }
    Rows rows() const override { return rows_; }
    int64_t items(const StepState& s) const override { return s.rows(rows_) > 0 ? groups_ : 0; }
    Grain grain(const StepState& s, int) const override {
        const int64_t together = s.rows(rows_) > direct_tokens_ ? tile_groups_ : 1;
        const int64_t products = s.rows(rows_) * kLanes * x_.width();  // of a group
        return {together, std::max(together, round_up(kGrainProducts / products, together))};
    }
    size_t scratch_bytes() const override { return kMatmulScratchBytes; }
    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        for (const Target& t : targets_) {
            const int64_t from = std::max(first - t.first, int64_t(0)), to = std::min(last - t.first, t.groups);
            if (from >= to) continue;
            MatmulArgs a = t.args;
            a.n_tokens = s.rows(rows_);
            if (float_input_) a.x = x_.floats(s);
            a.y = t.y.floats(s);
            a.residual = residual_ ? residual_->floats(s) : nullptr;
            a.scratch = scratch;
            kernel_(a, from, to);
        }
    }

  private:
    PackedView product_matrix(const Operands& o, size_t i, int64_t rows) const {
        const PackedView w = o.matrix(i, rows, x_.width());
        o.require(is_quantized(w) != float_input_, "the kind of x does not fit the weight's type");
        return w;
    }

    struct Target {
        MatmulArgs args{};
        Buffer y;
        int64_t first = 0, groups = 0;  // of the step's items
    };
    decltype(KernelTable::matmul) kernel_;
    int64_t direct_tokens_, tile_groups_;
    bool float_input_ = false;
    Rows rows_ = Rows::tokens;
    Buffer x_;
    std::optional<Buffer> residual_;
    int64_t groups_ = 0;
    std::vector<Target> targets_;
};

// Of each head its own product: x (n_heads, cols) with a stack of n_heads matrices. The items are blocks of a head's
// weight groups.
class HeadLinear : public Operation {
  public:
    explicit HeadLinear(const Operands& o) : kernel_(o.context().kernels.matmul) {
        o.counts(1, 1, 1);
        const Kind kind = o.input_spec(0).kind;
        const Buffer& x = o.input(0, kind);
        y_ = o.output(0);
        rows_ = x.rows();
        w_ = o.context().weights.stack(o.step().weights[0]);
        o.require(w_.count * w_.first.cols == x.width() && w_.count * w_.first.rows == y_.width(), "widths");
        o.require(y_.rows() == rows_, "input and output differ in rows");
        o.require(is_quantized(w_.first) == (kind == Kind::quantized), "the kind of x does not fit the weight's type");
        blocks_ = (groups_of(w_.first.rows) + kItemGroups - 1) / kItemGroups;
        gather_ = Gather(x, w_.first.cols, kTokens);
    }
    Rows rows() const override { return rows_; }
    int64_t items(const StepState& s) const override { return s.rows(rows_) > 0 ? w_.count * blocks_ : 0; }
    Grain grain(const StepState& s, int) const override {
        const int64_t products = s.rows(rows_) * kItemGroups * kLanes * w_.first.cols;  // of an item
        return {1, std::max<int64_t>(1, kGrainProducts / products)};
    }
    size_t scratch_bytes() const override { return kMatmulScratchBytes + gather_.scratch_bytes(); }
    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        while (first < last) {  // the items of one head
            const int64_t head = first / blocks_, end = std::min(last, (head + 1) * blocks_);
            const int64_t from = first % blocks_ * kItemGroups;
            const int64_t to = std::min(groups_of(w_.first.rows), (end - head * blocks_) * kItemGroups);
            first = end;
            for (int64_t token = 0; token < s.rows(rows_); token += kTokens) {
                MatmulArgs a{};
                a.w = w_.matrix(head);
                a.y = y_.row(s, token) + head * w_.first.rows;
                a.y_stride = y_.width();
                a.scratch = scratch;
                const auto place = [&](int64_t i) { return std::pair(token + i, head * w_.first.cols); };
                gather_.many(s, std::min(kTokens, s.rows(rows_) - token), place, scratch + kMatmulScratchBytes, a);
                kernel_(a, from, to);
            }
        }
    }

  private:
    static constexpr int64_t kTokens = 128;    // gathered at a time
    static constexpr int64_t kItemGroups = 8;  // 128 rows: gathering is a hundredth of what they take

    decltype(KernelTable::matmul) kernel_;
    Rows rows_;
    Buffer y_;
    StackView w_;
    Gather gather_;
    int64_t blocks_;  // of a head
};

}  // namespace

Made make_linear(const Operands& o) { return std::make_unique<Linear>(o, /*gated=*/false); }
Made make_gated_ffn(const Operands& o) { return std::make_unique<Linear>(o, /*gated=*/true); }
Made make_head_linear(const Operands& o) { return std::make_unique<HeadLinear>(o); }

}  // namespace pyruntime
