// Operations that touch their own row of every operand alone: is_row_wise() in plan.h says what that is good for.
#pragma once
#include "engine/plan.h"

namespace pyruntime {

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

}  // namespace pyruntime
