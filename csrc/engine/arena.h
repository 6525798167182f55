// Where the values of a plan lie in one block of memory, known before anything is allocated.
#pragma once
#include <vector>

#include "engine/plan.h"

namespace pyruntime {

// Throws Error("plan: ...") for an operand that is no value, and for sizes that no model has.
void check_plan(const PlanSpec& plan);

// Steps between two barriers. Memory is reused only over a barrier: inside a phase the threads are not in step.
struct Phase {
    int index;
    bool row_wise, barrier_after;
};
std::vector<Phase> phases_of(const PlanSpec& plan);  // of each step

struct Arena {
    size_t n_bytes = 0;
    std::vector<size_t> offsets;  // of each value
};
// For steps of at most max_tokens; the values `kept` stay to the end. Throws Error for a value that is written twice,
// or read before it is written.
Arena lay_out(const PlanSpec& plan, const std::vector<Phase>& phases, int64_t max_tokens, const std::vector<int>& kept);

// What an executor of this plan will allocate, for the memory plan: the arena, and the scratch of its threads up to
// what experts and latent attention gather (some 100 KB a thread); and the partial results of attention.
size_t activation_bytes(const PlanSpec& plan, int64_t max_tokens, int n_threads, int64_t context);

}  // namespace pyruntime
