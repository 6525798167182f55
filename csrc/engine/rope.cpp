// Rotary positions: the table of angles, and the rotation.
#include <cstdint>
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
        o.require(n_rot % 2 == 0 && y_.width() == n_rot && y_.rows() == Rows::tokens, "n_rot");
        o.require(theta >= 1 && theta <= 1e300, "theta is out of range");
        const RopeScaling scaling = read_scaling(o);
        o.require(scaling.original_context == 0 || theta > 1, "yarn needs a theta above 1");
        magnitude_ = scaling.magnitude;
        temperature_ = o.number("temperature", 0);
        o.require(temperature_ >= 0 && temperature_ <= 1e9, "temperature is out of range");
        if (temperature_ > 0) temperature_length_ = o.integer("temperature_length", 1, INT32_MAX);
        frequencies_ = rope_frequencies(theta, n_rot);
        if (factors) divide(o);
        scale_frequencies(frequencies_, theta, scaling);
    }
    void row(const StepState& s, int64_t r) const override {
        const int64_t position = s.positions[size_t(r)];
        const double lengths = double(position / temperature_length_);  // whole ones
        const double magnitude = magnitude_ * (1 + temperature_ * (portable_log2(1 + lengths) * 0.6931471805599453));
        float* cosines = y_.row(s, r);
        float* sines = cosines + frequencies_.size();
        for (size_t i = 0; i < frequencies_.size(); i++) {
            double sine, cosine;
            portable_sincos(double(position) * frequencies_[i], sine, cosine);
            cosines[i] = float(magnitude * cosine);
            sines[i] = float(magnitude * sine);
        }
    }

  private:
    static RopeScaling read_scaling(const Operands& o) {
        RopeScaling s;
        s.factor = o.number("factor", 1);
        s.original_context = o.integer("original_context", 0, INT32_MAX, 0);
        s.beta_fast = o.number("beta_fast", s.beta_fast);
        s.beta_slow = o.number("beta_slow", s.beta_slow);
        s.truncate = o.flag("truncate", true);
        s.magnitude = o.number("magnitude", 1);
        o.require(s.factor >= 1 / kLargestFrequency && s.factor <= 1e9, "factor is out of range");
        for (const double beta : {s.beta_fast, s.beta_slow})
            o.require(beta >= 1e-9 && beta <= 1e9, "beta_fast or beta_slow is out of range");
        o.require(s.magnitude > 0 && s.magnitude <= 1e9, "magnitude is out of range");
        return s;
    }
    // By the model's factors.
    void divide(const Operands& o) {
        const float* factors = o.vector(0, int64_t(frequencies_.size()));
        for (size_t i = 0; i < frequencies_.size(); i++) {
            frequencies_[i] = frequencies_[i] / double(factors[i]);
            if (!(frequencies_[i] > 0 && frequencies_[i] <= kLargestFrequency))
                throw GGUFError(o.context().weights.source(o.step().weights[0]) + ": element " + std::to_string(i) +
                                " is " + std::to_string(factors[i]) + ", no factor of a rotary frequency");
        }
    }

    Buffer y_;
    std::vector<double> frequencies_;
    double magnitude_, temperature_;
    int temperature_length_ = 1;
};

// Turns pairs of elements `first` to `first + n_rot` of each head.
class Rope : public RowWise {
  public:
    explicit Rope(const Operands& o) : RowWise(Rows::tokens), kernel_(o.context().kernels.rope) {
        o.counts(2, 1, 0);
        x_ = o.input(0);
        table_ = o.input(1);
        y_ = o.output(0);
        head_dim_ = o.integer("head_dim", 2, 1 << 16);
        neox_ = o.integer("neox", 0, 1) != 0;
        first_ = o.integer("first", 0, head_dim_ - 2, 0);
        o.require(x_.width() == y_.width() && x_.width() % head_dim_ == 0, "width is not whole heads");
        o.require(x_.rows() == Rows::tokens && table_.rows() == Rows::tokens && y_.rows() == Rows::tokens, "rows");
        o.require(table_.width() % 2 == 0 && first_ + table_.width() <= head_dim_, "n_rot exceeds head_dim");
    }
    void row(const StepState& s, int64_t r) const override {
        std::memcpy(y_.row(s, r), x_.row(s, r), size_t(x_.width()) * 4);
        const int n_heads = int(x_.width() / head_dim_), n_rot = int(table_.width());
        kernel_({y_.row(s, r) + first_, table_.row(s, r), n_heads, head_dim_, n_rot, neox_});
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
