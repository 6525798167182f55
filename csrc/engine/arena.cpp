#include "engine/arena.h"

#include <algorithm>

#include "errors.h"

namespace pyruntime {

void check_plan(const PlanSpec& plan) {
    const auto known = [&](int id) { return id >= 0 && size_t(id) < plan.values.size(); };
    for (const StepSpec& step : plan.steps)
        for (const auto* ids : {&step.inputs, &step.outputs})
            for (int id : *ids)
                if (!known(id))
                    throw Error("plan: " + step.op + " (" + step.where + "): no value " + std::to_string(id));
    if (!known(plan.logits) || plan.values[size_t(plan.logits)].rows != Rows::outputs ||
        plan.values[size_t(plan.logits)].kind != Kind::floats)
        throw Error("plan: its result must be float rows of the outputs");
    for (const ValueSpec& v : plan.values)
        if (v.width < 1 || v.width > (int64_t(1) << 31) || (v.kind == Kind::quantized && v.width % kBlock != 0))
            throw Error("plan: a value of width " + std::to_string(v.width));
    for (const CacheSpec& c : plan.caches)
        for (int n : {c.n_kv_heads, c.head_dim, c.value_dim})
            if (n < 1 || n > (1 << 16))
                throw Error("plan: a cache of " + std::to_string(c.n_kv_heads) + " heads of " +
                            std::to_string(c.head_dim) + " and " + std::to_string(c.value_dim));
}

namespace {

// Rows of the operands of a row-wise step: those of its first operand.
Rows rows_of(const PlanSpec& plan, const StepSpec& step) {
    if (step.inputs.empty() && step.outputs.empty())
        throw Error("plan: " + step.op + " (" + step.where + "): no operands");
    const int id = !step.inputs.empty() ? step.inputs[0] : step.outputs[0];
    return plan.values[size_t(id)].rows;
}

}  // namespace

std::vector<Phase> phases_of(const PlanSpec& plan) {
    std::vector<Phase> phases;
    int index = 0;
    for (size_t i = 0; i < plan.steps.size(); i++) {
        const StepSpec& step = plan.steps[i];
        const bool row_wise = is_row_wise(step.op);
        const bool joined = row_wise && i + 1 < plan.steps.size() && is_row_wise(plan.steps[i + 1].op) &&
                            rows_of(plan, step) == rows_of(plan, plan.steps[i + 1]);
        phases.push_back({index, row_wise, !joined});
        index += !joined;
    }
    return phases;
}

// First fit: a value lives from the phase that writes it to the last one that reads it.
Arena lay_out(const PlanSpec& plan, const std::vector<Phase>& phases, int64_t max_tokens,
              const std::vector<int>& kept) {
    struct Life {
        int first = -1, last = -1;
        size_t offset = 0, bytes = 0;
    };
    std::vector<Life> lives(plan.values.size());
    for (size_t v = 0; v < lives.size(); v++)
        if (int(v) != plan.logits) lives[v].bytes = Buffer::bytes(plan.values[v], max_tokens);
    for (size_t i = 0; i < plan.steps.size(); i++) {
        for (int id : plan.steps[i].outputs) {
            Life& life = lives[size_t(id)];
            if (life.first >= 0) throw Error("plan: value " + std::to_string(id) + " is written twice");
            life.first = life.last = phases[i].index;
        }
        for (int id : plan.steps[i].inputs) {
            if (lives[size_t(id)].first < 0)
                throw Error("plan: value " + std::to_string(id) + " is read before it is written");
            lives[size_t(id)].last = phases[i].index;
        }
    }
    for (int id : kept) {
        if (lives[size_t(id)].first < 0) throw Error("plan: nothing writes value " + std::to_string(id));
        lives[size_t(id)].last = phases.back().index + 1;
    }
    if (lives[size_t(plan.logits)].first < 0) throw Error("plan: nothing writes its result");
    Arena arena;
    std::vector<const Life*> placed;  // by offset
    for (Life& life : lives) {
        if (life.first < 0 || life.bytes == 0) continue;
        size_t offset = 0;
        for (const Life* other : placed) {
            if (other->last < life.first || other->first > life.last) continue;
            if (offset + life.bytes <= other->offset) break;
            offset = std::max(offset, other->offset + other->bytes);
        }
        life.offset = offset;
        arena.n_bytes = std::max(arena.n_bytes, offset + life.bytes);
        placed.insert(std::upper_bound(placed.begin(), placed.end(), &life,
                                       [](const Life* a, const Life* b) { return a->offset < b->offset; }),
                      &life);
    }
    for (const Life& life : lives) arena.offsets.push_back(life.offset);
    return arena;
}

size_t activation_bytes(const PlanSpec& plan, int64_t max_tokens, int n_threads, int64_t context) {
    check_plan(plan);
    size_t scratch = kMatmulScratchBytes, partial = 0;
    for (const CacheSpec& c : plan.caches) {
        scratch = std::max(scratch, sizeof(float) * attention_scratch_floats(c.head_dim, c.value_dim));
        partial = std::max(partial, size_t(most_cut_blocks(n_threads, c.n_kv_heads)) * sizeof(float) *
                                        attention_partial_floats(kMaxAttentionTile, c.value_dim));
    }
    return lay_out(plan, phases_of(plan), max_tokens, {}).n_bytes + size_t(n_threads) * scratch +
           partial * size_t(context / kPageTokens + 2);
}

}  // namespace pyruntime
