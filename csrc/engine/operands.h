// The operands of a step, for the operations that are resolved against them; and the operations' makers.
#pragma once
#include <cmath>
#include <memory>
#include <string>

#include "engine/plan.h"
#include "errors.h"

namespace pyruntime {

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
    int64_t vector_size(size_t i) const { return context_.weights.vector_size(step_.weights.at(i)); }
    double number(const char* name) const {
        const auto it = step_.attributes.find(name);
        if (it == step_.attributes.end()) fail(std::string("no attribute ") + name);
        return it->second;
    }
    double number(const char* name, double absent) const { return has(name) ? number(name) : absent; }
    int integer(const char* name, int lowest, int highest) const {
        const double v = number(name);
        if (!(v >= lowest && v <= highest) || v != std::floor(v)) fail(std::string(name) + " is out of range");
        return int(v);
    }
    int integer(const char* name, int lowest, int highest, int absent) const {
        return has(name) ? integer(name, lowest, highest) : absent;
    }
    bool flag(const char* name, bool absent = false) const { return integer(name, 0, 1, absent) != 0; }
    bool has(const char* name) const { return step_.attributes.count(name) != 0; }
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

using Made = std::unique_ptr<Operation>;

// The makers of what is not in operations.cpp, which has the table of their names.
// embeddings.cpp
Made make_embedding(const Operands& o);
Made make_position_embedding(const Operands& o);
// norms.cpp
Made make_rms_norm(const Operands& o);
Made make_layer_norm(const Operands& o);
// row_operations.cpp
Made make_quantize(const Operands& o);
Made make_add(const Operands& o);
Made make_scale(const Operands& o);
Made make_softcap(const Operands& o);
Made make_activation(const Operands& o);
Made make_gated(const Operands& o);
Made make_sigmoid_gate(const Operands& o);
Made make_slice(const Operands& o);
Made make_join_heads(const Operands& o);
// rope.cpp
Made make_rope_table(const Operands& o);
Made make_rope(const Operands& o);
// linear.cpp
Made make_linear(const Operands& o);
Made make_gated_ffn(const Operands& o);
Made make_head_linear(const Operands& o);
// attention.cpp
Made make_kv_store(const Operands& o);
Made make_attention(const Operands& o);
// item_operations.cpp
Made make_gather_outputs(const Operands& o);
// experts.cpp
Made make_route(const Operands& o);
Made make_experts_gated(const Operands& o);
Made make_experts_linear(const Operands& o);
Made make_combine(const Operands& o);

}  // namespace pyruntime
