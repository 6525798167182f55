// Rows of a table: by token id, by position.
#include "engine/operands.h"
#include "engine/row_wise.h"
#include "formats/pack.h"

namespace pyruntime {

namespace {

class Embedding : public RowWise {
  public:
    explicit Embedding(const Operands& o) : RowWise(Rows::tokens) {
        o.counts(0, 1, 1);
        y_ = o.output(0);
        table_ = o.context().weights.matrix(o.step().weights[0]);
        o.require(table_.cols == y_.width() && y_.rows() == Rows::tokens, "the output's shape");
    }

  protected:
    const PackedView& table() const { return table_; }
    void copy(const StepState& s, int64_t r, int64_t row) const {
        formats::unpack_row(table_.type, table_.data + size_t(row / kLanes) * table_.group_bytes, int(row % kLanes),
                            size_t(table_.cols), y_.row(s, r));
    }

  private:
    Buffer y_;
    PackedView table_;
};

class TokenEmbedding : public Embedding {
  public:
    explicit TokenEmbedding(const Operands& o) : Embedding(o) {
        // Ids are checked against the logits' width (Engine::run): each of them must have a row.
        o.require(table().rows >= o.plan().values[size_t(o.plan().logits)].width,
                  "the table has fewer rows than the logits");
    }
    void row(const StepState& s, int64_t r) const override { copy(s, r, s.ids[size_t(r)]); }
};

class PositionEmbedding : public Embedding {
  public:
    explicit PositionEmbedding(const Operands& o) : Embedding(o) {
        o.require(table().rows >= o.context().context, "the table has fewer rows than the context has positions");
    }
    void row(const StepState& s, int64_t r) const override { copy(s, r, s.positions[size_t(r)]); }
};

}  // namespace

Made make_embedding(const Operands& o) { return std::make_unique<TokenEmbedding>(o); }
Made make_position_embedding(const Operands& o) { return std::make_unique<PositionEmbedding>(o); }

}  // namespace pyruntime
