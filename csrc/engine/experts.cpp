// Mixture of experts: the router's choice, products with the chosen experts alone, and their weighted sum. A row of
// routes is n_used ids (whole numbers, best first), then as many weights. A product's row holds a part for each rank.
//
// The items of a product are blocks of weight groups: of one token's chosen experts, or of all experts, where each
// gathers its tokens. A token's result does not depend on who shares its expert: products of one token and of many
// have the same bits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "engine/gather.h"
#include "engine/operands.h"
#include "formats/types.h"

namespace pyruntime {

namespace {

enum class Gating { softmax, sigmoid, softmax_of_chosen };  // as GATINGS in pyruntime/plan/operations/experts.py

// Row-wise. Sums go over the experts in ascending order, or over the ranks.
class Route : public Operation {
  public:
    explicit Route(const Operands& o) : rows_(o.input_spec(0).rows), exp_(o.context().kernels.exp) {
        const bool has_bias = o.flag("bias");
        o.counts(1, 1, has_bias);
        x_ = o.input(0);
        y_ = o.output(0);
        n_experts_ = int(x_.width());
        n_groups_ = o.integer("n_groups", 1, n_experts_);
        o.require(n_experts_ <= (1 << 20) && n_experts_ % n_groups_ == 0, "n_groups does not divide the experts");
        n_groups_used_ = o.integer("n_groups_used", 1, n_groups_);
        group_top_ = o.integer("group_top", 1, n_experts_ / n_groups_);
        n_used_ = o.integer("n_used", 1, n_experts_ / n_groups_ * n_groups_used_);
        gating_ = Gating(o.integer("gating", 0, 2));
        normalize_ = o.integer("normalize", 0, 1) != 0;
        scale_ = float(o.number("scale"));
        if (has_bias) bias_ = o.vector(0, n_experts_);
        o.require(y_.width() == 2 * n_used_ && y_.rows() == x_.rows(), "the shape of the routes");
    }
    Rows rows() const override { return rows_; }
    size_t scratch_bytes() const override {
        return size_t(n_experts_) * (2 * sizeof(float) + 1) + size_t(n_groups_) * 5;
    }
    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        for (int64_t r = first; r < last; r++) row(x_.row(s, r), scratch, y_.row(s, r));
    }

  private:
    void row(const float* logits, uint8_t* scratch, float* y) const {
        float* scores = reinterpret_cast<float*>(scratch);
        float* choice = scores + n_experts_;
        float* worth = choice + n_experts_;
        auto* taken = reinterpret_cast<uint8_t*>(worth + n_groups_);
        score(logits, scores);
        for (int i = 0; i < n_experts_; i++) choice[i] = bias_ ? scores[i] + bias_[i] : scores[i];
        std::memset(taken, 0, size_t(n_experts_));
        if (n_groups_used_ < n_groups_) leave_groups_out(choice, worth, taken);
        for (int r = 0; r < n_used_; r++) {
            const int id = best(choice, taken, n_experts_);
            taken[id] = 1;
            y[r] = float(id);
            y[n_used_ + r] = scores[id];
        }
        weigh(y + n_used_);
    }

    void score(const float* logits, float* scores) const {
        if (gating_ == Gating::softmax_of_chosen) {
            std::copy(logits, logits + n_experts_, scores);
        } else if (gating_ == Gating::sigmoid) {
            for (int i = 0; i < n_experts_; i++) scores[i] = -logits[i];
            exp_(scores, n_experts_, scores);
            for (int i = 0; i < n_experts_; i++) scores[i] = 1.0f / (1.0f + scores[i]);
        } else {
            std::copy(logits, logits + n_experts_, scores);
            softmax(scores, n_experts_);
        }
    }

    void softmax(float* x, int n) const {
        float largest = x[0], sum = 0;
        for (int i = 1; i < n; i++) largest = x[i] > largest ? x[i] : largest;
        for (int i = 0; i < n; i++) x[i] -= largest;
        exp_(x, n, x);
        for (int i = 0; i < n; i++) sum += x[i];
        for (int i = 0; i < n; i++) x[i] /= sum;
    }

    // The weights of the chosen, in place.
    void weigh(float* w) const {
        if (gating_ == Gating::softmax_of_chosen) softmax(w, n_used_);
        float sum = 0;
        for (int r = 0; r < n_used_; r++) sum += w[r];
        for (int r = 0; r < n_used_; r++) w[r] = (normalize_ ? w[r] / sum : w[r]) * scale_;
    }

    // The largest that is not taken; of equals the first. Some index even if they are not numbers.
    static int best(const float* x, const uint8_t* taken, int n) {
        int found = -1;
        for (int i = 0; i < n; i++)
            if (!taken[i] && (found < 0 || x[i] > x[found])) found = i;
        return found;
    }

    void leave_groups_out(const float* choice, float* worth, uint8_t* taken) const {
        const int size = n_experts_ / n_groups_;
        auto* used = taken + n_experts_;
        std::memset(used, 0, size_t(n_groups_));
        for (int g = 0; g < n_groups_; g++) {
            worth[g] = 0;
            for (int k = 0; k < group_top_; k++) {
                const int id = best(choice + g * size, taken + g * size, size);
                taken[g * size + id] = 1;
                worth[g] += choice[g * size + id];
            }
        }
        std::memset(taken, 1, size_t(n_experts_));
        for (int k = 0; k < n_groups_used_; k++) {
            const int g = best(worth, used, n_groups_);
            used[g] = 1;
            std::memset(taken + g * size, 0, size_t(size));
        }
    }

    Rows rows_;
    decltype(KernelTable::exp) exp_;
    Buffer x_, y_;
    int n_experts_, n_used_, n_groups_, n_groups_used_, group_top_;
    Gating gating_;
    bool normalize_;
    float scale_;
    const float* bias_ = nullptr;
};

// A token and the rank at which it chose the expert.
struct Chosen {
    int64_t token;
    int rank;
};

// Gated: activation(x gate + bias) * (x up + bias), the same x for every rank. Else x[rank] w + bias.
class ExpertsProduct : public Operation {
  public:
    ExpertsProduct(const Operands& o, bool gated) : kernels_(o.context().kernels), gated_(gated) {
        const bool has_bias = o.flag("bias");
        const size_t n_matrices = gated ? 2 : 1;
        o.counts(2, 1, n_matrices * (has_bias ? 2 : 1));
        const Kind kind = o.input_spec(0).kind;
        x_ = o.input(0, kind);
        routes_ = o.input(1);
        y_ = o.output(0);
        n_used_ = int(routes_.width() / 2);
        o.require(x_.rows() == routes_.rows() && y_.rows() == x_.rows(), "operands differ in rows");
        o.require(y_.width() % n_used_ == 0 && (gated || x_.width() % n_used_ == 0), "widths are not whole ranks");
        d_out_ = y_.width() / n_used_;
        d_in_ = gated ? x_.width() : x_.width() / n_used_;
        for (size_t i = 0; i < n_matrices; i++) {
            w_[i] = o.context().weights.stack(o.step().weights[i]);
            o.require(w_[i].first.rows == d_out_ && w_[i].first.cols == d_in_ && w_[i].count == w_[0].count,
                      "the shape of the experts' weights");
            o.require((formats::find_type(w_[i].first.type)->n_block > 1) == (kind == Kind::quantized),
                      "the kind of x does not fit the weights' type");
            if (has_bias) bias_[i] = o.vector(n_matrices + i, w_[i].count * d_out_);
        }
        require_routes(o);
        if (gated) activation_ = o.integer("activation", kSilu, kSwigluOai);
        blocks_ = (groups_of(d_out_) + kItemGroups - 1) / kItemGroups;
        gather_ = Gather(x_, d_in_, kTokens);
    }

    Rows rows() const override { return x_.rows(); }
    int64_t items(const StepState& s) const override {
        const int64_t n = s.rows(rows());
        return n == 0 ? 0 : blocks_ * (n == 1 ? n_used_ : w_[0].count);
    }
    // An expert's tokens are gathered once for all items taken together; as in Linear, not more than 2^23 products.
    Grain grain(const StepState& s, int n_threads) const override {
        const int64_t n = s.rows(rows());
        if (n == 1 || w_[0].count < 8 * n_threads) return {1, 1};
        const int64_t products = (n * n_used_ / w_[0].count + 1) * kItemGroups * kLanes * d_in_;
        const int64_t grain = std::clamp<int64_t>(kGrainProducts / products, 1, blocks_);
        return {grain, grain};
    }
    size_t scratch_bytes() const override { return kMatmulScratchBytes + result_bytes() + gather_.scratch_bytes(); }

    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        const int64_t n = s.rows(rows());
        while (first < last) {  // the items of one expert
            const int64_t expert = first / blocks_, end = std::min(last, (expert + 1) * blocks_);
            const int64_t from = first % blocks_ * kItemGroups;
            const int64_t to = std::min(groups_of(d_out_), (end - expert * blocks_) * kItemGroups);
            first = end;
            if (n == 1) {
                const Chosen only{0, int(expert)};
                product(s, scratch, int64_t(routes_.row(s, 0)[expert]), &only, 1, from, to);
                continue;
            }
            Chosen chosen[kTokens];
            int n_chosen = 0;
            for (int64_t token = 0; token < n; token++) {
                const float* ids = routes_.row(s, token);
                for (int rank = 0; rank < n_used_; rank++)
                    if (ids[rank] == float(expert)) chosen[n_chosen++] = {token, rank};
                if (n_chosen == kTokens || (token == n - 1 && n_chosen > 0)) {
                    product(s, scratch, expert, chosen, n_chosen, from, to);
                    n_chosen = 0;
                }
            }
        }
    }

  private:
    static constexpr int kTokens = 128;    // of an expert at a time: 0.9 MB of activations 7,168 wide
    static constexpr int kItemGroups = 8;  // 128 rows of results, 64 kB for as many tokens
    static constexpr int64_t kGrainProducts = int64_t(1) << 23;

    // A thread's scratch: the panel of a product, its results, the activations gathered for it.
    static size_t result_bytes() { return size_t(kTokens) * kItemGroups * kLanes * sizeof(float); }

    // Ids are indices: they must come from a router of these experts.
    void require_routes(const Operands& o) const {
        for (const StepSpec& step : o.plan().steps)
            if (step.op == "route" && step.outputs == std::vector<int>{o.step().inputs[1]} &&
                o.plan().values[size_t(step.inputs.at(0))].width == w_[0].count)
                return;
        o.fail("the routes are not those of as many experts");
    }

    // Groups [from, to) of an expert, for the tokens that chose it.
    void product(const StepState& s, uint8_t* scratch, int64_t expert, const Chosen* chosen, int n, int64_t from,
                 int64_t to) const {
        MatmulArgs a{};
        a.activation = activation_;
        a.scratch = scratch;
        auto* results = reinterpret_cast<float*>(scratch + kMatmulScratchBytes);
        const auto place = [&](int64_t t) { return std::pair(chosen[t].token, gated_ ? 0 : chosen[t].rank * d_in_); };
        gather_.many(s, n, place, scratch + kMatmulScratchBytes + result_bytes(), a);
        for (int64_t g = from; g < to; g += kItemGroups) {
            const int64_t n_groups = std::min<int64_t>(kItemGroups, to - g), row = g * kLanes;
            const int64_t width = std::min(n_groups * kLanes, d_out_ - row);
            a.w = rows_of(0, expert, g, width);
            if (gated_) a.up = rows_of(1, expert, g, width);
            if (bias_[0]) a.bias = bias_[0] + expert * d_out_ + row;
            if (bias_[1]) a.up_bias = bias_[1] + expert * d_out_ + row;
            a.y = n == 1 ? result(s, chosen[0]) + row : results;
            a.y_stride = width;
            kernels_.matmul(a, 0, n_groups);
            for (int t = 0; t < n && n > 1; t++)
                std::memcpy(result(s, chosen[t]) + row, results + t * width, size_t(width) * 4);
        }
    }

    PackedView rows_of(int i, int64_t expert, int64_t group, int64_t n_rows) const {
        PackedView view = w_[i].matrix(expert);
        view.data += size_t(group) * view.group_bytes;
        view.rows = n_rows;
        return view;
    }
    float* result(const StepState& s, const Chosen& c) const { return y_.row(s, c.token) + c.rank * d_out_; }
    const KernelTable& kernels_;
    bool gated_;
    Buffer x_, routes_, y_;
    int n_used_, activation_ = 0;
    int64_t d_in_, d_out_, blocks_;
    Gather gather_;
    StackView w_[2];
    const float* bias_[2] = {};
};

// y = sum over the ranks of weight * part, by fma in ascending order of rank. Row-wise.
class Combine : public Operation {
  public:
    explicit Combine(const Operands& o) : kernel_(o.context().kernels.add_scaled) {
        o.counts(2, 1, 0);
        x_ = o.input(0);
        routes_ = o.input(1);
        y_ = o.output(0);
        n_used_ = routes_.width() / 2;
        o.require(x_.width() == n_used_ * y_.width(), "the width of x");
        o.require(x_.rows() == routes_.rows() && y_.rows() == x_.rows(), "operands differ in rows");
    }
    Rows rows() const override { return x_.rows(); }
    void run(const StepState& s, uint8_t*, int64_t first, int64_t last) const override {
        for (int64_t r = first; r < last; r++) {
            const float* weights = routes_.row(s, r) + n_used_;
            float* y = y_.row(s, r);
            std::fill(y, y + y_.width(), 0.0f);
            for (int64_t k = 0; k < n_used_; k++) kernel_(weights[k], x_.row(s, r) + k * y_.width(), y_.width(), y);
        }
    }

  private:
    decltype(KernelTable::add_scaled) kernel_;
    Buffer x_, routes_, y_;
    int64_t n_used_;
};

}  // namespace

Made make_route(const Operands& o) { return std::make_unique<Route>(o); }
Made make_experts_gated(const Operands& o) { return std::make_unique<ExpertsProduct>(o, true); }
Made make_experts_linear(const Operands& o) { return std::make_unique<ExpertsProduct>(o, false); }
Made make_combine(const Operands& o) { return std::make_unique<Combine>(o); }

}  // namespace pyruntime
