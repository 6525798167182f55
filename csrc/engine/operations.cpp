// The table of operations: what docs/architecture.md lists, each resolved into a small object when the plan is built.
// The row-wise ones are here, the others in item_operations.cpp.
#include <cstring>

#include "engine/operands.h"
#include "engine/rope_math.h"
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
            reinterpret_cast<BlockSums*>(d + 2 * blocks)};
}

namespace {

class RowWise : public Operation {
  public:
    explicit RowWise(Rows rows) : rows_(rows) {}
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
        // Ids are checked against the logits' width (Engine::run): each of them must have a row.
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
        kernel_(x_.row(s, r), x_.width(), to_.q + r * x_.width(), to_.d + at, to_.e + at, to_.sums + at);
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
    {"attention", false, make_attention},
    {"gather_outputs", false, make_gather_outputs},
    {"linear", false, make_linear},
    {"gated_ffn", false, make_gated_ffn},
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
