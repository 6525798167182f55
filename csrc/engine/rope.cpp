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
        const bool factors = o.flag("factors");
        o.counts(0, 1, factors);
        y_ = o.output(0);
        const int n_rot = o.integer("n_rot", 2, 1 << 16);
        const double theta = o.number("theta");
        o.require(n_rot % 2 == 0 && y_.width() == n_rot, "n_rot");
        o.require(theta >= 1 && theta <= 1e300, "theta is out of range");
        frequencies_ = rope_frequencies(theta, n_rot);
        if (factors) {
            const float* divisors = o.vector(0, n_rot / 2);
            for (size_t i = 0; i < frequencies_.size(); i++) frequencies_[i] /= double(divisors[i]);
        }
        const double factor = o.number("factor", 1), original_context = o.number("original_context", 0);
        if (original_context != 0) {
            stretch(frequencies_, theta,
                    {factor, original_context, o.number("beta_fast"), o.number("beta_slow"), o.flag("truncate")});
        } else {
            for (double& f : frequencies_) f /= factor;
        }
        for (double f : frequencies_)  // beyond it angles would leave the range of portable_sincos
            if (!(f >= 0 && f <= 1.5))
                throw GGUFError("rope (" + o.step().where + "): a frequency of " + std::to_string(f) +
                                (factors ? ", of the factors in tensor " + o.step().weights[0] : ""));
        magnitude_ = o.number("magnitude", 1);
        temperature_ = o.number("temperature", 0);
        temperature_length_ = temperature_ == 0 ? 1 : o.integer("temperature_length", 1, INT32_MAX);
    }
    void row(const StepState& s, int64_t r) const override {
        float* cosines = y_.row(s, r);
        float* sines = cosines + frequencies_.size();
        const int64_t position = s.positions[size_t(r)];
        const double lengths = double(position / temperature_length_);  // whole ones
        const double magnitude = magnitude_ * (1 + temperature_ * (portable_log2(1 + lengths) * 0.6931471805599453));
        for (size_t i = 0; i < frequencies_.size(); i++) {
            double sine, cosine;
            portable_sincos(double(position) * frequencies_[i], sine, cosine);
            cosines[i] = float(magnitude * cosine);
            sines[i] = float(magnitude * sine);
        }
    }

  private:
    Buffer y_;
    std::vector<double> frequencies_;
    double magnitude_, temperature_;
    int temperature_length_;
};

class Rope : public RowWise {
  public:
    explicit Rope(const Operands& o) : RowWise(Rows::tokens), kernel_(o.context().kernels.rope) {
        o.counts(2, 1, 0);
        x_ = o.input(0);
        table_ = o.input(1);
        y_ = o.output(0);
        head_dim_ = o.integer("head_dim", 2, 1 << 16);
        first_ = o.integer("first", 0, 1 << 16, 0);
        neox_ = o.flag("neox");
        o.require(x_.width() == y_.width() && x_.width() % head_dim_ == 0, "width is not whole heads");
        o.require(first_ + table_.width() <= head_dim_, "n_rot exceeds head_dim");
    }
    void row(const StepState& s, int64_t r) const override {
        std::memcpy(y_.row(s, r), x_.row(s, r), size_t(x_.width()) * 4);
        kernel_({y_.row(s, r) + first_, table_.row(s, r), int(x_.width() / head_dim_), head_dim_, int(table_.width()),
                 neox_});
    }

  private:
    decltype(KernelTable::rope) kernel_;
    Buffer x_, table_, y_;
    int head_dim_, first_;
    bool neox_;
};

}  // namespace

Made make_rope_table(const Operands& o) { return std::make_unique<RopeTable>(o); }
Made make_rope(const Operands& o) { return std::make_unique<Rope>(o); }

}  // namespace pyruntime
