#include "engine/executor.h"

#include <algorithm>
#include <chrono>

#include "errors.h"

namespace pyruntime {

namespace {

using Clock = std::chrono::steady_clock;

void check_ids(const PlanSpec& plan) {
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

// Rows of the operands of a row-wise step: those of its first operand.
Rows rows_of(const PlanSpec& plan, const StepSpec& step) {
    if (step.inputs.empty() && step.outputs.empty())
        throw Error("plan: " + step.op + " (" + step.where + "): no operands");
    const int id = !step.inputs.empty() ? step.inputs[0] : step.outputs[0];
    return plan.values[size_t(id)].rows;
}

}  // namespace

Executor::Executor(PlanSpec plan, const Weights& weights, const PagePool& pages, const KernelTable& kernels,
                   ThreadPool& threads, int64_t max_tokens, int64_t context, const std::vector<int>& kept)
    : plan_(std::move(plan)),
      threads_(threads),
      kernels_(kernels),
      max_tokens_(max_tokens),
      stats_(size_t(threads.size())),
      barrier_(threads.size()) {
    check_ids(plan_);
    for (int id : kept)
        if (id < 0 || size_t(id) >= plan_.values.size() || plan_.values[size_t(id)].kind != Kind::floats)
            throw Error("plan: value " + std::to_string(id) + " cannot be kept");
    // Phases are separated by barriers. Memory is reused only over a barrier: inside a phase the threads are not in
    // step.
    std::vector<int> phase_of_step;
    std::vector<bool> row_wise, barrier_after;
    int phase = 0;
    for (size_t i = 0; i < plan_.steps.size(); i++) {
        const StepSpec& step = plan_.steps[i];
        row_wise.push_back(is_row_wise(step.op));
        const bool joined = i + 1 < plan_.steps.size() && row_wise[i] && is_row_wise(plan_.steps[i + 1].op) &&
                            rows_of(plan_, step) == rows_of(plan_, plan_.steps[i + 1]);
        phase_of_step.push_back(phase);
        barrier_after.push_back(!joined);
        phase += !joined;
    }
    lay_out(phase_of_step, kept);

    std::vector<Buffer> buffers;
    for (size_t v = 0; v < plan_.values.size(); v++)
        buffers.emplace_back(plan_.values[v], arena_.get() + offsets_[v], max_tokens_, int(v) == plan_.logits);
    for (int id : kept) kept_.push_back(buffers[size_t(id)]);
    const BuildContext build{kernels_, weights, pages, buffers, context};
    for (size_t i = 0; i < plan_.steps.size(); i++) {
        steps_.push_back({make_operation(plan_.steps[i], plan_, build), row_wise[i], barrier_after[i]});
        scratch_bytes_ = std::max(scratch_bytes_, steps_.back().operation->scratch_bytes());
    }
    scratch_bytes_ = size_t(round_up(int64_t(scratch_bytes_), 64));
    scratch_ = allocate(scratch_bytes_ * size_t(threads_.size()), "scratch");
    next_item_ = std::make_unique<std::atomic<int64_t>[]>(steps_.size() + 1);
}

// First fit: a value lives from the phase that writes it to the last one that reads it.
void Executor::lay_out(const std::vector<int>& phase_of_step, const std::vector<int>& kept) {
    struct Life {
        int first = -1, last = -1;
        size_t offset = 0, bytes = 0;
    };
    std::vector<Life> lives(plan_.values.size());
    for (size_t v = 0; v < lives.size(); v++)
        if (int(v) != plan_.logits) lives[v].bytes = Buffer::bytes(plan_.values[v], max_tokens_);
    for (size_t i = 0; i < plan_.steps.size(); i++) {
        for (int id : plan_.steps[i].outputs) {
            Life& life = lives[size_t(id)];
            if (life.first >= 0) throw Error("plan: value " + std::to_string(id) + " is written twice");
            life.first = life.last = phase_of_step[i];
        }
        for (int id : plan_.steps[i].inputs) {
            if (lives[size_t(id)].first < 0)
                throw Error("plan: value " + std::to_string(id) + " is read before it is written");
            lives[size_t(id)].last = phase_of_step[i];
        }
    }
    for (int id : kept) {
        if (lives[size_t(id)].first < 0) throw Error("plan: nothing writes value " + std::to_string(id));
        lives[size_t(id)].last = phase_of_step.back() + 1;
    }
    if (lives[size_t(plan_.logits)].first < 0) throw Error("plan: nothing writes its result");
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
        arena_bytes_ = std::max(arena_bytes_, offset + life.bytes);
        placed.insert(std::upper_bound(placed.begin(), placed.end(), &life,
                                       [](const Life* a, const Life* b) { return a->offset < b->offset; }),
                      &life);
    }
    arena_ = allocate(arena_bytes_, "activations");
    for (const Life& life : lives) offsets_.push_back(life.offset);
}

void Executor::run(StepState& s, const Poll& poll) {
    for (size_t i = 0; i <= steps_.size(); i++) next_item_[i].store(0, std::memory_order_relaxed);
    s.cancelled.store(false, std::memory_order_relaxed);
    std::atomic<bool> finite{true};
    threads_.run([&](int thread) {
        run_thread(s, poll, thread);
        // The logits of all outputs, row by row: one value that is not finite fails the step.
        for (int64_t r; (r = next_item_[steps_.size()].fetch_add(1, std::memory_order_relaxed)) < s.n_outputs;) {
            const int64_t n_vocab = plan_.values[size_t(plan_.logits)].width;
            if (!s.cancelled.load(std::memory_order_relaxed) && !kernels_.all_finite(s.logits + r * n_vocab, n_vocab))
                finite = false;
        }
    });
    if (s.cancelled) throw Interrupted();
    if (!finite) throw NumericsError("the logits are not finite: the model's weights overflow, or the file is damaged");
}

void Executor::run_thread(StepState& s, const Poll& poll, int thread) {
    const int n_threads = threads_.size();
    uint8_t* const scratch = scratch_.get() + size_t(thread) * scratch_bytes_;
    auto polled = Clock::now();
    const auto check = [&] {
        if (thread != 0 || !poll) return;
        const auto now = Clock::now();
        if (now - polled < kPollEvery) return;
        if (poll()) s.cancelled.store(true, std::memory_order_relaxed);
        polled = Clock::now();
    };
    for (size_t i = 0; i < steps_.size(); i++) {
        const Operation& op = *steps_[i].operation;
        const int64_t n = op.items(s);
        if (s.cancelled.load(std::memory_order_relaxed)) {
            // nothing but the barriers is left to do
        } else if (steps_[i].row_wise) {
            const int64_t first = n * thread / n_threads, last = n * (thread + 1) / n_threads;
            op.run(s, scratch, first, last);
            stats_[size_t(thread)].items += last - first;
        } else if (n > 0) {
            const int64_t grain = op.grain(s, n_threads);
            for (int64_t at; (at = next_item_[i].fetch_add(grain, std::memory_order_relaxed)) < n;) {
                if (s.cancelled.load(std::memory_order_relaxed)) break;
                op.run(s, scratch, at, std::min(at + grain, n));
                stats_[size_t(thread)].items += std::min(at + grain, n) - at;
                check();
            }
        }
        if (steps_[i].barrier_after && n_threads > 1) barrier_.wait(check);
    }
}

Executor::Matrix Executor::kept(size_t i, const StepState& s) const {
    const Buffer& value = kept_[i];
    return {value.floats(s), s.rows(value.rows()), value.width()};
}

std::vector<int64_t> Executor::items_by_thread() const {
    std::vector<int64_t> items;
    for (const ThreadStats& s : stats_) items.push_back(s.items);
    return items;
}

}  // namespace pyruntime
