// The table of operations: what docs/architecture.md lists, each resolved into a small object when the plan is built.
#include "engine/operands.h"

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

struct Row {
    const char* name;
    bool row_wise;
    Made (*make)(const Operands&);
};

constexpr Row kTable[] = {
    {"embedding", true, make_embedding},
    {"position_embedding", true, make_position_embedding},
    {"rms_norm", true, make_rms_norm},
    {"layer_norm", true, make_layer_norm},
    {"quantize", true, make_quantize},
    {"add", true, make_add},
    {"scale", true, make_scale},
    {"softcap", true, make_softcap},
    {"activation", true, make_activation},
    {"gated", true, make_gated},
    {"sigmoid_gate", true, make_sigmoid_gate},
    {"slice", true, make_slice},
    {"join_heads", true, make_join_heads},
    {"rope_table", true, make_rope_table},
    {"rope", true, make_rope},
    {"kv_store", true, make_kv_store},
    {"route", true, make_route},
    {"experts_gated", false, make_experts_gated},
    {"experts_linear", false, make_experts_linear},
    {"combine", true, make_combine},
    {"attention", false, make_attention},
    {"latent_store", true, make_kv_store},
    {"latent_attention", false, make_attention},
    {"gather_outputs", false, make_gather_outputs},
    {"linear", false, make_linear},
    {"gated_ffn", false, make_gated_ffn},
    {"head_linear", false, make_head_linear},
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
