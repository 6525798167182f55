// Operations whose items are not rows of their own: threads take them from a counter.
#include <algorithm>
#include <cstring>

#include "engine/operands.h"

namespace pyruntime {

namespace {

// Rows of the positions whose logits are wanted.
class GatherOutputs : public Operation {
  public:
    explicit GatherOutputs(const Operands& o) {
        o.counts(1, 1, 0);
        x_ = o.input(0);
        y_ = o.output(0);
        o.require(x_.rows() == Rows::tokens && y_.rows() == Rows::outputs && x_.width() == y_.width(), "shapes");
    }
    Rows rows() const override { return Rows::outputs; }
    Grain grain(const StepState& s, int n_threads) const override {
        const int64_t share = s.n_outputs / n_threads + 1;
        return {share, share};
    }
    void run(const StepState& s, uint8_t*, int64_t first, int64_t last) const override {
        for (int64_t r = first; r < last; r++)
            std::memcpy(y_.row(s, r), x_.row(s, s.output_rows[size_t(r)]), size_t(x_.width()) * 4);
    }

  private:
    Buffer x_, y_;
};

}  // namespace

Made make_gather_outputs(const Operands& o) { return std::make_unique<GatherOutputs>(o); }

}  // namespace pyruntime
