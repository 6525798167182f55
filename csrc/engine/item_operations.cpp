// Operations whose items are not rows of their own: threads take them from a counter.
#include <algorithm>
#include <cstring>

#include "engine/operands.h"

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

}  // namespace

Made make_attention(const Operands& o) { return std::make_unique<Attention>(o); }
Made make_gather_outputs(const Operands& o) { return std::make_unique<GatherOutputs>(o); }

}  // namespace pyruntime
