// The table of operations: what docs/architecture.md lists, each resolved into a small object when the plan is built.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/plan.h"
#include "engine/rope_math.h"
#include "errors.h"
#include "formats/formats.h"
#include "formats/pack.h"

namespace pyruntime {

size_t Buffer::bytes(const ValueSpec& spec, int64_t max_rows) {
    const size_t rows = size_t(max_rows), width = size_t(spec.width);
    if (spec.kind == Kind::floats) return size_t(round_up(int64_t(rows * width * 4), 64));
    const size_t blocks = size_t(round_up(int64_t(rows * width / kBlock * 4), 64));
    return size_t(round_up(int64_t(rows * width), 64)) + 3 * blocks;
}

QuantizedRows Buffer::quantized() const {
    const int64_t blocks = round_up(max_rows_ * spec_.width / kBlock * 4, 64);
    uint8_t* d = at_ + round_up(max_rows_ * spec_.width, 64);
    return {reinterpret_cast<int8_t*>(at_), reinterpret_cast<float*>(d), reinterpret_cast<float*>(d + blocks),
            reinterpret_cast<int32_t*>(d + 2 * blocks)};
}

namespace {

// Reads the operands of a step, and says what does not fit.
class Operands {
  public:
    Operands(const StepSpec& step, const PlanSpec& plan, const BuildContext& context)
        : step_(step), plan_(plan), context_(context) {}

    [[noreturn]] void fail(const std::string& what) const {
        throw Error("plan: " + step_.op + " (" + step_.where + "): " + what);
    }
    void counts(size_t inputs, size_t outputs, size_t weights) const {
        if (step_.inputs.size() != inputs || step_.outputs.size() != outputs || step_.weights.size() != weights)
            fail("wrong number of operands");
    }
    const Buffer& input(size_t i, Kind kind = Kind::floats) const { return buffer(step_.inputs.at(i), kind); }
    const Buffer& output(size_t i, Kind kind = Kind::floats) const { return buffer(step_.outputs.at(i), kind); }
    const ValueSpec& input_spec(size_t i) const {
        if (i >= step_.inputs.size()) fail("wrong number of operands");
        return plan_.values[size_t(step_.inputs[i])];
    }
    PackedView matrix(size_t i, int64_t rows, int64_t cols) const {
        const PackedView w = context_.weights.matrix(step_.weights.at(i));
        if (w.rows != rows || w.cols != cols)
            fail("weight " + step_.weights[i] + " is " + std::to_string(w.rows) + " x " + std::to_string(w.cols) +
                 ", not " + std::to_string(rows) + " x " + std::to_string(cols));
        return w;
    }
    const float* vector(size_t i, int64_t n) const { return context_.weights.vector(step_.weights.at(i), n); }
    double number(const char* name) const {
        const auto it = step_.attributes.find(name);
        if (it == step_.attributes.end()) fail(std::string("no attribute ") + name);
        return it->second;
    }
    int integer(const char* name, int lowest, int highest) const {
        const double v = number(name);
        if (!(v >= lowest && v <= highest) || v != std::floor(v)) fail(std::string(name) + " is out of range");
        return int(v);
    }
    void require(bool ok, const char* what) const {
        if (!ok) fail(what);
    }
    const StepSpec& step() const { return step_; }
    const PlanSpec& plan() const { return plan_; }
    const BuildContext& context() const { return context_; }

  private:
    const Buffer& buffer(int id, Kind kind) const {
        if (plan_.values[size_t(id)].kind != kind) fail("an operand of the wrong kind");
        return context_.buffers[size_t(id)];
    }
    const StepSpec& step_;
    const PlanSpec& plan_;
    const BuildContext& context_;
};

class RowWise : public Operation {
  public:
    explicit RowWise(Rows rows) : rows_(rows) {}
    bool row_wise() const override { return true; }
    Rows rows() const override { return rows_; }
    void run(const StepState& s, uint8_t*, int64_t first, int64_t last) const override {
        for (int64_t r = first; r < last; r++) row(s, r);
    }
    virtual void row(const StepState& s, int64_t r) const = 0;

  private:
    Rows rows_;
};

class Embedding : public RowWise {
  public:
    explicit Embedding(const Operands& o) : RowWise(Rows::tokens) {
        o.counts(0, 1, 1);
        y_ = o.output(0);
        table_ = o.context().weights.matrix(o.step().weights[0]);
        o.require(table_.cols == y_.width(), "the table's width differs from the output's");
        // Ids are checked against the logits' width (Engine::check): each of them must have a row.
        o.require(table_.rows >= o.plan().values[size_t(o.plan().logits)].width,
                  "the table has fewer rows than the logits");
    }
    void row(const StepState& s, int64_t r) const override {
        const int32_t id = s.ids[size_t(r)];
        formats::unpack_row(table_.type, table_.data + size_t(id / kLanes) * table_.group_bytes, id % kLanes,
                            size_t(table_.cols), y_.row(s, r));
    }

  private:
    Buffer y_;
    PackedView table_;
};

class RmsNorm : public RowWise {
  public:
    explicit RmsNorm(const Operands& o) : RowWise(o.input_spec(0).rows), kernel_(o.context().kernels.rms_norm) {
        o.counts(1, 1, 1);
        x_ = o.input(0);
        y_ = o.output(0);
        o.require(x_.width() == y_.width() && x_.rows() == y_.rows(), "input and output differ in shape");
        w_ = o.vector(0, x_.width());
        eps_ = float(o.number("eps"));
    }
    void row(const StepState& s, int64_t r) const override {
        kernel_(x_.row(s, r), w_, eps_, x_.width(), y_.row(s, r));
    }

  private:
    decltype(KernelTable::rms_norm) kernel_;
    Buffer x_, y_;
    const float* w_;
    float eps_;
};

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
        kernel_(x_.row(s, r), x_.width(), to_.q + r * x_.width(), to_.d + at, to_.e + at, to_.sum + at);
    }

  private:
    decltype(KernelTable::quantize) kernel_;
    Buffer x_;
    QuantizedRows to_;
};

class Add : public RowWise {
  public:
    explicit Add(const Operands& o) : RowWise(o.input_spec(0).rows), kernel_(o.context().kernels.add) {
        o.counts(2, 1, 0);
        a_ = o.input(0);
        b_ = o.input(1);
        y_ = o.output(0);
        o.require(a_.width() == b_.width() && a_.width() == y_.width() && a_.rows() == b_.rows(), "shapes differ");
    }
    void row(const StepState& s, int64_t r) const override {
        kernel_(a_.row(s, r), b_.row(s, r), a_.width(), y_.row(s, r));
    }

  private:
    decltype(KernelTable::add) kernel_;
    Buffer a_, b_, y_;
};

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

class KVStore : public RowWise {
  public:
    explicit KVStore(const Operands& o) : RowWise(Rows::tokens), kernel_(o.context().kernels.kv_store) {
        o.counts(2, 0, 0);
        k_ = o.input(0);
        v_ = o.input(1);
        const int cache = o.integer("cache", 0, int(o.plan().caches.size()) - 1);
        const CacheSpec& spec = o.plan().caches[size_t(cache)];
        const CacheLayout& layout = o.context().pages.layout(cache);
        o.require(k_.width() == int64_t(spec.n_kv_heads) * spec.head_dim && v_.width() == k_.width(),
                  "width of k or v");
        args_.n_kv_heads = spec.n_kv_heads;
        args_.head_dim = spec.head_dim;
        args_.key_offset = layout.key_offset;
        args_.value_offset = layout.value_offset;
        args_.key_head_bytes = layout.key_head_bytes;
        args_.value_head_bytes = layout.value_head_bytes;
        args_.f16 = o.context().pages.f16();
    }
    void row(const StepState& s, int64_t r) const override {
        KVStoreArgs a = args_;
        const int64_t position = s.positions[size_t(r)];
        a.k = k_.row(s, r);
        a.v = v_.row(s, r);
        a.page = s.pieces[size_t(s.piece_of[size_t(r)])].pages[position / kPageTokens];
        a.slot = int(position % kPageTokens);
        kernel_(a);
    }

  private:
    decltype(KernelTable::kv_store) kernel_;
    Buffer k_, v_;
    KVStoreArgs args_{};
};

// The items are blocks of query rows of a kv head of a piece.
class Attention : public Operation {
  public:
    explicit Attention(const Operands& o) : kernel_(o.context().kernels.attention) {
        o.counts(1, 1, 0);
        q_ = o.input(0);
        y_ = o.output(0);
        const int cache = o.integer("cache", 0, int(o.plan().caches.size()) - 1);
        const CacheSpec& spec = o.plan().caches[size_t(cache)];
        layout_ = o.context().pages.layout(cache);
        n_kv_heads_ = spec.n_kv_heads;
        const int n_heads = o.integer("n_heads", 1, 1 << 16);
        o.require(n_heads % n_kv_heads_ == 0, "n_heads is not a multiple of n_kv_heads");
        o.require(q_.width() == int64_t(n_heads) * spec.head_dim && y_.width() == q_.width(), "width of q");
        args_.group = n_heads / n_kv_heads_;
        args_.head_dim = spec.head_dim;
        args_.q_token_stride = args_.out_token_stride = q_.width();
        args_.window = o.integer("window", 0, 1 << 30);
        args_.scale = float(o.number("scale"));
        args_.f16 = o.context().pages.f16();
        block_ = o.context().kernels.attention_tile;
    }
    int64_t items(const StepState& s) const override {
        int64_t n = 0;
        for (const PieceState& p : s.pieces) n += items_of(p);
        return n;
    }
    size_t scratch_bytes() const override { return attention_scratch_floats(args_.head_dim) * sizeof(float); }
    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        size_t piece = 0;
        int64_t start = 0;  // first item of the piece
        for (int64_t item = first; item < last; item++) {
            while (item >= start + items_of(s.pieces[piece])) start += items_of(s.pieces[piece++]);
            run_item(s, s.pieces[piece], scratch, item - start);
        }
    }

  private:
    int64_t query_rows(const PieceState& p) const { return p.n_tokens * args_.group; }
    int64_t blocks_of(const PieceState& p) const { return (query_rows(p) + block_ - 1) / block_; }
    int64_t items_of(const PieceState& p) const { return blocks_of(p) * n_kv_heads_; }
    void run_item(const StepState& s, const PieceState& p, uint8_t* scratch, int64_t item) const {
        const int64_t head = item / blocks_of(p), block = item % blocks_of(p);
        AttentionArgs a = args_;
        const int64_t column = head * a.group * a.head_dim;
        a.q = q_.row(s, p.first_row) + column;
        a.out = y_.row(s, p.first_row) + column;
        a.first_row = block * block_;
        a.n_rows = std::min<int64_t>(block_, query_rows(p) - a.first_row);
        a.first_position = p.first_position;
        a.pages = p.pages;
        a.key_offset = layout_.key_offset + size_t(head) * layout_.key_head_bytes;
        a.value_offset = layout_.value_offset + size_t(head) * layout_.value_head_bytes;
        a.scratch = reinterpret_cast<float*>(scratch);
        kernel_(a);
    }

    decltype(KernelTable::attention) kernel_;
    Buffer q_, y_;
    CacheLayout layout_;
    int n_kv_heads_, block_;
    AttentionArgs args_{};
};

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
    int64_t grain(const StepState& s, int n_threads) const override { return s.n_outputs / n_threads + 1; }
    void run(const StepState& s, uint8_t*, int64_t first, int64_t last) const override {
        for (int64_t r = first; r < last; r++)
            std::memcpy(y_.row(s, r), x_.row(s, s.output_rows[size_t(r)]), size_t(x_.width()) * 4);
    }

  private:
    Buffer x_, y_;
};

// One or more products with the same input, or a gated feed-forward's silu(x gate) * (x up). The items are weight
// groups.
class Linear : public Operation {
  public:
    Linear(const Operands& o, bool gated) : kernel_(o.context().kernels.matmul) {
        const size_t n_inputs = o.step().inputs.size(), n_outputs = o.step().outputs.size();
        const bool residual = !gated && n_inputs == 2;
        if (gated)
            o.counts(1, 1, 2);
        else
            o.counts(residual ? 2 : 1, std::max<size_t>(n_outputs, 1), n_outputs);
        const Kind kind = o.input_spec(0).kind;
        const Buffer& x = o.input(0, kind);
        rows_ = x.rows();
        x_ = x;
        for (size_t i = 0; i < n_outputs; i++) {
            Target t;
            t.y = o.output(i);
            o.require(t.y.rows() == rows_, "input and output differ in rows");
            t.args.w = o.matrix(i, t.y.width(), x.width());
            if (gated) t.args.up = o.matrix(i + 1, t.y.width(), x.width());
            if (kind == Kind::quantized) t.args.xq = x.quantized();
            o.require(quantized(t.args.w.type) == (kind == Kind::quantized),
                      "the kind of x does not fit the weight's type");
            o.require(!gated || quantized(t.args.up.type) == (kind == Kind::quantized), "gate and up differ in kind");
            t.args.y_stride = t.y.width();
            if (residual) {
                t.residual = o.input(1);
                t.has_residual = true;
                o.require(t.residual.width() == t.y.width() && t.residual.rows() == rows_, "the residual's shape");
            }
            t.first = groups_;
            groups_ += (t.y.width() + kLanes - 1) / kLanes;
            targets_.push_back(t);
        }
        float_input_ = kind == Kind::floats;
    }
    Rows rows() const override { return rows_; }
    int64_t items(const StepState& s) const override { return s.rows(rows_) > 0 ? groups_ : 0; }
    // Contiguous weights, yet a slow core holds nobody up and Ctrl-C does not wait: kGrainProducts take 40 ms of scalar
    // code, 100 us of AVX2.
    int64_t grain(const StepState& s, int n_threads) const override {
        const int64_t products = s.rows(rows_) * kLanes * x_.width();  // of a group
        return std::max<int64_t>(1, std::min(groups_ / (n_threads * 8), kGrainProducts / products));
    }
    size_t scratch_bytes() const override { return float_input_ ? 0 : matmul_scratch_bytes(x_.width()); }
    void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const override {
        for (const Target& t : targets_) {
            const int64_t groups = (t.y.width() + kLanes - 1) / kLanes;
            const int64_t from = std::max(first - t.first, int64_t(0)), to = std::min(last - t.first, groups);
            if (from >= to) continue;
            MatmulArgs a = t.args;
            a.n_tokens = s.rows(rows_);
            if (float_input_) a.x = x_.floats(s);
            a.y = t.y.floats(s);
            a.residual = t.has_residual ? t.residual.floats(s) : nullptr;
            a.scratch = scratch;
            kernel_(a, from, to);
        }
    }

  private:
    static constexpr int64_t kGrainProducts = int64_t(1) << 23;
    static bool quantized(uint32_t type) { return formats::find_type(type)->n_block > 1; }

    struct Target {
        MatmulArgs args{};
        Buffer y, residual;
        bool has_residual = false;
        int64_t first = 0;
    };
    decltype(KernelTable::matmul) kernel_;
    bool float_input_ = false;
    Rows rows_ = Rows::tokens;
    Buffer x_;
    int64_t groups_ = 0;
    std::vector<Target> targets_;
};

using Made = std::unique_ptr<Operation>;

struct Row {
    const char* name;
    bool row_wise;
    Made (*make)(const Operands&);
};

template <class Op>
Made make(const Operands& o) {
    return std::make_unique<Op>(o);
}

constexpr Row kTable[] = {
    {"embedding", true, make<Embedding>},
    {"rms_norm", true, make<RmsNorm>},
    {"quantize", true, make<Quantize>},
    {"add", true, make<Add>},
    {"rope_table", true, make<RopeTable>},
    {"rope", true, make<Rope>},
    {"kv_store", true, make<KVStore>},
    {"attention", false, make<Attention>},
    {"gather_outputs", false, make<GatherOutputs>},
    {"linear", false, [](const Operands& o) -> Made { return std::make_unique<Linear>(o, /*gated=*/false); }},
    {"gated_ffn", false, [](const Operands& o) -> Made { return std::make_unique<Linear>(o, /*gated=*/true); }},
};

const Row& find_row(const std::string& op) {
    for (const Row& row : kTable)
        if (op == row.name) return row;
    throw Error("plan: there is no operation '" + op + "'");
}

}  // namespace

std::unique_ptr<Operation> make_operation(const StepSpec& step, const PlanSpec& plan, const BuildContext& context) {
    return find_row(step.op).make(Operands(step, plan, context));
}

bool is_row_wise(const std::string& op) { return find_row(op).row_wise; }

}  // namespace pyruntime
