// Norms over rows, or over the heads of a row.
#include "engine/operands.h"
#include "engine/row_wise.h"

namespace pyruntime {

namespace {

// A weight of the norm, or a bias: of the row, of each head, or one for all heads.
struct HeadVector {
    const float* data = nullptr;  // nullptr: none
    int64_t stride = 0;           // from a head's to the next one's
    const float* of(int64_t head) const { return data ? data + head * stride : nullptr; }
};

class Norm : public RowWise {
  public:
    Norm(const Operands& o, bool centred)
        : RowWise(o.input_spec(0).rows),
          rms_norm_(o.context().kernels.rms_norm),
          layer_norm_(o.context().kernels.layer_norm),
          centred_(centred) {
        const bool weight = o.flag("weight", true), bias = centred && o.flag("bias");
        o.counts(1, 1, size_t(weight) + size_t(bias));
        x_ = o.input(0);
        y_ = o.output(0);
        o.require(x_.width() == y_.width() && x_.rows() == y_.rows(), "input and output differ in shape");
        o.require(x_.width() < (1 << 24), "a row too wide for its length to be a float");
        width_ = o.integer("head_dim", 1, 1 << 24, int(x_.width()));
        o.require(x_.width() % width_ == 0, "the width is not whole heads");
        if (weight) weight_ = head_vector(o, 0);
        if (bias) bias_ = head_vector(o, size_t(weight));
        eps_ = float(o.number("eps"));
    }
    void row(const StepState& s, int64_t r) const override {
        const float* x = x_.row(s, r);
        float* y = y_.row(s, r);
        for (int64_t h = 0; h < x_.width() / width_; h++, x += width_, y += width_)
            if (centred_)
                layer_norm_(x, weight_.of(h), bias_.of(h), eps_, width_, y);
            else
                rms_norm_(x, weight_.of(h), eps_, width_, y);
    }

  private:
    HeadVector head_vector(const Operands& o, size_t i) const {
        const bool shared = o.vector_size(i) == width_;
        return {o.vector(i, shared ? width_ : x_.width()), shared ? 0 : width_};
    }
    decltype(KernelTable::rms_norm) rms_norm_;
    decltype(KernelTable::layer_norm) layer_norm_;
    bool centred_;  // layer_norm
    Buffer x_, y_;
    int64_t width_;  // of what is normed
    HeadVector weight_, bias_;
    float eps_;
};

}  // namespace

Made make_rms_norm(const Operands& o) { return std::make_unique<Norm>(o, /*centred=*/false); }
Made make_layer_norm(const Operands& o) { return std::make_unique<Norm>(o, /*centred=*/true); }

}  // namespace pyruntime
