#include "engine/executor.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/arena.h"
#include "errors.h"

namespace pyruntime {

using Clock = std::chrono::steady_clock;

Executor::Executor(PlanSpec plan, const Weights& weights, const PagePool& pages, const KernelTable& kernels,
                   ThreadPool& threads, int64_t max_tokens, int64_t context, const std::vector<int>& kept)
    : plan_(std::move(plan)),
      threads_(threads),
      kernels_(kernels),
      max_tokens_(max_tokens),
      stats_(size_t(threads.size())),
      barrier_(threads.size()) {
    check_plan(plan_);
    for (int id : kept)
        if (id < 0 || size_t(id) >= plan_.values.size() || plan_.values[size_t(id)].kind != Kind::floats)
            throw Error("plan: value " + std::to_string(id) + " cannot be kept");
    const std::vector<Phase> phases = phases_of(plan_);
    const Arena arena = lay_out(plan_, phases, max_tokens_, kept);
    arena_bytes_ = arena.n_bytes;
    arena_ = allocate(arena_bytes_, "activations");

    std::vector<Buffer> buffers;
    for (size_t v = 0; v < plan_.values.size(); v++)
        buffers.emplace_back(plan_.values[v], arena_.get() + arena.offsets[v], max_tokens_, int(v) == plan_.logits);
    for (int id : kept) kept_.push_back(buffers[size_t(id)]);
    const BuildContext build{kernels_, weights, pages, buffers, context, threads_.size()};
    size_t shared_bytes = 0;
    for (size_t i = 0; i < plan_.steps.size(); i++) {
        size_t next = i + 1;
        while (next < phases.size() && phases[next].row_wise) next++;
        steps_.push_back(
            {make_operation(plan_.steps[i], plan_, build), phases[i].row_wise, phases[i].barrier_after, next});
        scratch_bytes_ = std::max(scratch_bytes_, steps_.back().operation->scratch_bytes());
        shared_bytes = std::max(shared_bytes, steps_.back().operation->shared_bytes());
    }
    scratch_bytes_ = size_t(round_up(int64_t(scratch_bytes_), 64));
    scratch_ = allocate(scratch_bytes_ * size_t(threads_.size()), "scratch");
    shared_ = allocate(shared_bytes, "partial results");
    next_item_ = std::make_unique<std::atomic<int64_t>[]>(steps_.size() + 1);
    counters_ = std::make_unique<std::atomic<int64_t>[]>(n_counters());
}

namespace {

// Takes the next of n items, half of a thread's share of what is left; false if nothing is.
bool take(std::atomic<int64_t>& next, int64_t n, Grain grain, int n_threads, int64_t& first, int64_t& last) {
    first = next.load(std::memory_order_relaxed);
    do {
        if (first >= n) return false;
        const int64_t share = std::clamp((n - first) / (2 * n_threads), grain.least, grain.most);
        last = std::min(n, first + share);
    } while (!next.compare_exchange_weak(first, last, std::memory_order_relaxed));
    return true;
}

}  // namespace

// A thread's clock while it is profiled: adds to a sum what went by since it last did. Off, it asks no clock.
class Executor::Laps {
  public:
    explicit Laps(Profile::Thread* sums) : sums_(sums) {
        if (sums_) last_ = Clock::now();
    }
    void was_busy(size_t step) {
        if (sums_) add_to(sums_->busy[step]);
    }
    void has_waited(size_t step) {
        if (sums_) add_to(sums_->waiting[step]);
    }

  private:
    void add_to(double& seconds) {
        const auto now = Clock::now();
        seconds += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }
    Profile::Thread* sums_;
    Clock::time_point last_;
};

void Executor::run(StepState& s, const Poll& poll) {
    const auto began = Clock::now();
    for (size_t i = 0; i <= steps_.size(); i++) next_item_[i].store(0, std::memory_order_relaxed);
    for (size_t i = 0; i < n_counters(); i++) counters_[i].store(0, std::memory_order_relaxed);
    s.shared = shared_.get();
    s.counters = counters_.get();
    s.cancelled.store(false, std::memory_order_relaxed);
    std::atomic<bool> finite{true};
    threads_.run([&](int thread) {
        Laps laps(profile_.threads.empty() ? nullptr : &profile_.threads[size_t(thread)]);
        run_thread(s, poll, thread, laps);
        // The logits of all outputs, row by row: one value that is not finite fails the step.
        for (int64_t r; (r = next_item_[steps_.size()].fetch_add(1, std::memory_order_relaxed)) < s.n_outputs;) {
            const int64_t n_vocab = plan_.values[size_t(plan_.logits)].width;
            if (!s.cancelled.load(std::memory_order_relaxed) && !kernels_.all_finite(s.logits + r * n_vocab, n_vocab))
                finite = false;
        }
        laps.was_busy(steps_.size());
    });
    if (!profile_.threads.empty()) profile_.elapsed += std::chrono::duration<double>(Clock::now() - began).count();
    if (s.cancelled) throw Interrupted();
    if (!finite) throw NumericsError("the logits are not finite: the model's weights overflow, or the file is damaged");
}

void Executor::run_thread(StepState& s, const Poll& poll, int thread, Laps& laps) {
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
    const auto run_rows = [&](size_t i, int64_t first, int64_t last) {
        if (s.cancelled.load(std::memory_order_relaxed)) return;
        steps_[i].operation->run(s, scratch, first, last);
        stats_[size_t(thread)].items += last - first;
        laps.was_busy(i);
    };
    for (size_t i = 0; i < steps_.size();) {
        const Operation& op = *steps_[i].operation;
        const int64_t n = op.items(s);
        if (steps_[i].row_wise) {
            run_rows(i, n * thread / n_threads, n * (thread + 1) / n_threads);
        } else if (n > 0) {
            const Grain grain = op.grain(s, n_threads);
            for (int64_t first, last; take(next_item_[i], n, grain, n_threads, first, last);) {
                if (s.cancelled.load(std::memory_order_relaxed)) break;
                op.run(s, scratch, first, last);
                stats_[size_t(thread)].items += last - first;
                check();
            }
            laps.was_busy(i);
        }
        const size_t at = i++;
        if (!steps_[at].barrier_after || n_threads == 1) continue;
        // The rows of one token cannot be shared: who comes last does what follows alone, and nobody waits twice.
        const size_t end = s.n_tokens == 1 ? steps_[at].next_shared : i;
        barrier_.wait(check, [&] {
            laps.has_waited(at);
            for (; i < end; i++) run_rows(i, 0, steps_[i].operation->items(s));
        });
        laps.has_waited(at);
        i = end;
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

void Executor::start_profile() {
    const std::vector<double> none(steps_.size() + 1);
    profile_.elapsed = 0;
    profile_.threads.assign(size_t(threads_.size()), {none, none});
}

Profile Executor::stop_profile() { return std::exchange(profile_, {}); }

}  // namespace pyruntime
