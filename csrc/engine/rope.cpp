// Rotary positions: the table of angles, and the rotation.
#include <cstring>

#include "engine/operands.h"
#include "engine/rope_math.h"
#include "engine/row_wise.h"

namespace pyruntime {

namespace {

// Rows of cosines and sines of each token's position.
class RopeTable : public RowWise {
  public:
    explicit RopeTable(const Operands& o) : RowWise(Rows::tokens) {
        o.counts(0, 1, 0);
        y_ = o.output(0);
        const int n_rot = o.integer("n_rot", 2, 1 << 16);
        const double theta = o.number("theta");
        o.require(n_rot % 2 == 0 && y_.width() == n_rot, "n_rot");
        o.require(theta >= 1 && theta <= 1e300, "theta is out of range");
        frequencies_ = rope_frequencies(theta, n_rot);
    }
    void row(const StepState& s, int64_t r) const override {
        float* cosines = y_.row(s, r);
        float* sines = cosines + frequencies_.size();
        for (size_t i = 0; i < frequencies_.size(); i++) {
            double sine, cosine;
            portable_sincos(double(s.positions[size_t(r)]) * frequencies_[i], sine, cosine);
            cosines[i] = float(cosine);
            sines[i] = float(sine);
        }
    }

  private:
    Buffer y_;
    std::vector<double> frequencies_;
};

class Rope : public RowWise {
  public:
    explicit Rope(const Operands& o) : RowWise(Rows::tokens), kernel_(o.context().kernels.rope) {
        o.counts(2, 1, 0);
        x_ = o.input(0);
        table_ = o.input(1);
        y_ = o.output(0);
        head_dim_ = o.integer("head_dim", 2, 1 << 16);
        neox_ = o.integer("neox", 0, 1) != 0;
        o.require(x_.width() == y_.width() && x_.width() % head_dim_ == 0, "width is not whole heads");
        o.require(table_.width() <= head_dim_, "n_rot exceeds head_dim");
    }
    void row(const StepState& s, int64_t r) const override {
        std::memcpy(y_.row(s, r), x_.row(s, r), size_t(x_.width()) * 4);
        kernel_({y_.row(s, r), table_.row(s, r), int(x_.width() / head_dim_), head_dim_, int(table_.width()), neox_});
    }

  private:
    decltype(KernelTable::rope) kernel_;
    Buffer x_, table_, y_;
    int head_dim_;
    bool neox_;
};

}  // namespace

Made make_rope_table(const Operands& o) { return std::make_unique<RopeTable>(o); }
Made make_rope(const Operands& o) { return std::make_unique<Rope>(o); }

}  // namespace pyruntime
