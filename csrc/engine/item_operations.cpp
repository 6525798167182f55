// Operations whose items are not rows: threads take blocks of query rows, or groups of weights, from a counter.
#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/operands.h"
#include "formats/types.h"

namespace pyruntime {

namespace {

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
        if (residual) residual_ = o.input(1);
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
            if (residual_)
                o.require(residual_->width() == t.y.width() && residual_->rows() == rows_, "the residual's shape");
            t.first = groups_;
            t.groups = groups_of(t.y.width());
            groups_ += t.groups;
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
    static constexpr int64_t kGrainProducts = int64_t(1) << 23;
    static bool quantized(uint32_t type) { return formats::find_type(type)->n_block > 1; }

    struct Target {
        MatmulArgs args{};
        Buffer y;
        int64_t first = 0, groups = 0;  // of the step's items
    };
    decltype(KernelTable::matmul) kernel_;
    bool float_input_ = false;
    Rows rows_ = Rows::tokens;
    Buffer x_;
    std::optional<Buffer> residual_;
    int64_t groups_ = 0;
    std::vector<Target> targets_;
};

}  // namespace

std::unique_ptr<Operation> make_attention(const Operands& o) { return std::make_unique<Attention>(o); }
std::unique_ptr<Operation> make_gather_outputs(const Operands& o) { return std::make_unique<GatherOutputs>(o); }
std::unique_ptr<Operation> make_linear(const Operands& o) { return std::make_unique<Linear>(o, /*gated=*/false); }
std::unique_ptr<Operation> make_gated_ffn(const Operands& o) { return std::make_unique<Linear>(o, /*gated=*/true); }

}  // namespace pyruntime
