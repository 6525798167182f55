// Operations on the elements and the parts of a row.
#include <cstring>

#include "engine/operands.h"
#include "engine/row_wise.h"

namespace pyruntime {

namespace {

class Quantize : public RowWise {
  public:
    explicit Quantize(const Operands& o) : RowWise(o.input_spec(0).rows), kernel_(o.context().kernels.quantize) {
        o.counts(1, 1, 0);
        x_ = o.input(0);
        o.require(x_.width() % kBlock == 0 && o.output(0, Kind::quantized).width() == x_.width(), "width");
        to_ = o.output(0, Kind::quantized).quantized();
    }
    void row(const StepState& s, int64_t r) const override {
        const int64_t blocks = x_.width() / kBlock, at = r * blocks;
        kernel_(x_.row(s, r), x_.width(), to_.q + r * x_.width(), to_.d + at, to_.e + at, to_.sums + at);
    }

  private:
    decltype(KernelTable::quantize) kernel_;
    Buffer x_;
    QuantizedRows to_;
};

// y = f(x), element by element.
class Unary : public RowWise {
  public:
    explicit Unary(const Operands& o) : RowWise(o.input_spec(0).rows) {
        o.counts(1, 1, 0);
        x_ = o.input(0);
        y_ = o.output(0);
        o.require(x_.width() == y_.width() && x_.rows() == y_.rows(), "input and output differ in shape");
    }

  protected:
    Buffer x_, y_;
};

class Scale : public Unary {
  public:
    explicit Scale(const Operands& o)
        : Unary(o), kernel_(o.context().kernels.scale), factor_(float(o.number("factor"))) {
        o.require(std::isfinite(factor_), "factor is out of range");
    }
    void row(const StepState& s, int64_t r) const override { kernel_(x_.row(s, r), factor_, x_.width(), y_.row(s, r)); }

  private:
    decltype(KernelTable::scale) kernel_;
    float factor_;
};

class Softcap : public Unary {
  public:
    explicit Softcap(const Operands& o) : Unary(o), kernel_(o.context().kernels.softcap), cap_(float(o.number("cap"))) {
        o.require(cap_ > 0 && std::isfinite(cap_), "cap is out of range");
    }
    void row(const StepState& s, int64_t r) const override { kernel_(x_.row(s, r), cap_, x_.width(), y_.row(s, r)); }

  private:
    decltype(KernelTable::softcap) kernel_;
    float cap_;
};

class Activate : public Unary {
  public:
    explicit Activate(const Operands& o)
        : Unary(o), kernel_(o.context().kernels.activation), kind_(o.integer("kind", 0, kSwigluOai - 1)) {}
    void row(const StepState& s, int64_t r) const override { kernel_(kind_, x_.row(s, r), x_.width(), y_.row(s, r)); }

  private:
    decltype(KernelTable::activation) kernel_;
    int kind_;
};

// y = f(a, b), element by element.
class Binary : public RowWise {
  public:
    explicit Binary(const Operands& o) : RowWise(o.input_spec(0).rows) {
        o.counts(2, 1, 0);
        a_ = o.input(0);
        b_ = o.input(1);
        y_ = o.output(0);
        o.require(a_.width() == b_.width() && a_.width() == y_.width(), "widths differ");
        o.require(a_.rows() == b_.rows() && a_.rows() == y_.rows(), "rows differ");
    }

  protected:
    Buffer a_, b_, y_;
};

class Add : public Binary {
  public:
    explicit Add(const Operands& o) : Binary(o), kernel_(o.context().kernels.add) {}
    void row(const StepState& s, int64_t r) const override {
        kernel_(a_.row(s, r), b_.row(s, r), a_.width(), y_.row(s, r));
    }

  private:
    decltype(KernelTable::add) kernel_;
};

class Gated : public Binary {
  public:
    explicit Gated(const Operands& o)
        : Binary(o), kernel_(o.context().kernels.gated), kind_(o.integer("kind", 0, kSwigluOai)) {}
    void row(const StepState& s, int64_t r) const override {
        kernel_(kind_, a_.row(s, r), b_.row(s, r), a_.width(), y_.row(s, r));
    }

  private:
    decltype(KernelTable::gated) kernel_;
    int kind_;
};

// x times the sigmoid of the row's gate, one number.
class SigmoidGate : public RowWise {
  public:
    explicit SigmoidGate(const Operands& o)
        : RowWise(o.input_spec(0).rows), sigmoid_(o.context().kernels.sigmoid), scale_(o.context().kernels.scale) {
        o.counts(2, 1, 0);
        x_ = o.input(0);
        gate_ = o.input(1);
        y_ = o.output(0);
        o.require(gate_.width() == 1 && x_.width() == y_.width(), "width");
        o.require(gate_.rows() == x_.rows() && y_.rows() == x_.rows(), "rows differ");
    }
    void row(const StepState& s, int64_t r) const override {
        float factor;
        sigmoid_(gate_.row(s, r), 1, &factor);
        scale_(x_.row(s, r), factor, x_.width(), y_.row(s, r));
    }

  private:
    decltype(KernelTable::sigmoid) sigmoid_;
    decltype(KernelTable::scale) scale_;
    Buffer x_, gate_, y_;
};

void copy(float* to, const float* from, int64_t n) { std::memcpy(to, from, size_t(n) * sizeof(float)); }

// The same elements of each of n_heads equal parts of a row.
class Slice : public RowWise {
  public:
    explicit Slice(const Operands& o) : RowWise(o.input_spec(0).rows) {
        o.counts(1, 1, 0);
        x_ = o.input(0);
        y_ = o.output(0);
        n_heads_ = o.integer("n_heads", 1, 1 << 24);
        o.require(x_.width() % n_heads_ == 0 && y_.rows() == x_.rows(), "input and output do not fit");
        const int part = int(x_.width() / n_heads_);
        first_ = o.integer("first", 0, part - 1);
        width_ = o.integer("width", 1, part - first_);
        o.require(y_.width() == int64_t(n_heads_) * width_, "the output's width");
    }
    void row(const StepState& s, int64_t r) const override {
        const float* x = x_.row(s, r) + first_;
        float* y = y_.row(s, r);
        for (int h = 0; h < n_heads_; h++) copy(y + int64_t(h) * width_, x + h * (x_.width() / n_heads_), width_);
    }

  private:
    Buffer x_, y_;
    int n_heads_, first_, width_;
};

// Each head of a followed by the same head of b, or by all of a b that the heads share.
class JoinHeads : public RowWise {
  public:
    explicit JoinHeads(const Operands& o) : RowWise(o.input_spec(0).rows) {
        o.counts(2, 1, 0);
        a_ = o.input(0);
        b_ = o.input(1);
        y_ = o.output(0);
        n_heads_ = o.integer("n_heads", 1, 1 << 24);
        shared_ = o.flag("shared");
        o.require(a_.width() % n_heads_ == 0 && (shared_ || b_.width() % n_heads_ == 0), "a width is not whole heads");
        o.require(a_.rows() == b_.rows() && a_.rows() == y_.rows(), "rows differ");
        a_width_ = a_.width() / n_heads_;
        b_width_ = shared_ ? b_.width() : b_.width() / n_heads_;
        o.require(y_.width() == n_heads_ * (a_width_ + b_width_), "the output's width");
    }
    void row(const StepState& s, int64_t r) const override {
        const float *a = a_.row(s, r), *b = b_.row(s, r);
        float* y = y_.row(s, r);
        for (int h = 0; h < n_heads_; h++) {
            copy(y, a + h * a_width_, a_width_);
            copy(y + a_width_, shared_ ? b : b + h * b_width_, b_width_);
            y += a_width_ + b_width_;
        }
    }

  private:
    Buffer a_, b_, y_;
    int n_heads_;
    bool shared_;
    int64_t a_width_, b_width_;
};

}  // namespace

Made make_quantize(const Operands& o) { return std::make_unique<Quantize>(o); }
Made make_add(const Operands& o) { return std::make_unique<Add>(o); }
Made make_scale(const Operands& o) { return std::make_unique<Scale>(o); }
Made make_softcap(const Operands& o) { return std::make_unique<Softcap>(o); }
Made make_activation(const Operands& o) { return std::make_unique<Activate>(o); }
Made make_gated(const Operands& o) { return std::make_unique<Gated>(o); }
Made make_sigmoid_gate(const Operands& o) { return std::make_unique<SigmoidGate>(o); }
Made make_slice(const Operands& o) { return std::make_unique<Slice>(o); }
Made make_join_heads(const Operands& o) { return std::make_unique<JoinHeads>(o); }

}  // namespace pyruntime
