// Runs a plan: every operation on every thread, with a barrier between operations that depend on each other's rows. All
// buffers are laid out once in one arena; nothing is allocated on the way of a token.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "engine/barrier.h"
#include "engine/plan.h"
#include "engine/thread_pool.h"

namespace pyruntime {

// Where the time of steps went, in seconds. What threads have left of `elapsed` they took to begin and to end.
struct Profile {
    // Of each step of the plan, and last of the check of the logits: busy with it, and waiting at the barrier behind
    // it.
    struct Thread {
        std::vector<double> busy, waiting;
    };
    double elapsed = 0;
    std::vector<Thread> threads;
};

class Executor {
  public:
    // The values `kept` can be read after a step.
    Executor(PlanSpec plan, const Weights& weights, const PagePool& pages, const KernelTable& kernels,
             ThreadPool& threads, int64_t max_tokens, int64_t context, const std::vector<int>& kept = {});

    // One step; s.logits holds s.n_outputs rows afterwards. Throws Interrupted if poll() asks to stop, and
    // NumericsError if a logit is not finite. poll is asked by the calling thread at most every 20 ms.
    void run(StepState& s, const Poll& poll);

    // A kept value of the last step: its rows, and their floats.
    struct Matrix {
        const float* data;
        int64_t rows, width;
    };
    Matrix kept(size_t i, const StepState& s) const;

    size_t arena_bytes() const { return arena_bytes_; }
    // Items that each thread has done since the beginning: which threads really worked.
    std::vector<int64_t> items_by_thread() const;

    // Between these two, threads stamp the clock around each operation and each barrier. The bits are the same.
    void start_profile();
    Profile stop_profile();

  private:
    struct Step {
        std::unique_ptr<Operation> operation;
        bool row_wise, barrier_after;
        size_t next_shared;  // the first step behind it that is not row-wise
    };
    struct alignas(64) ThreadStats {
        int64_t items = 0;
    };
    class Laps;
    size_t n_counters() const { return size_t(kCountersPerThread * threads_.size()); }
    void run_thread(StepState& s, const Poll& poll, int thread, Laps& laps);

    PlanSpec plan_;
    ThreadPool& threads_;
    const KernelTable& kernels_;
    int64_t max_tokens_;
    size_t arena_bytes_ = 0;
    AlignedBytes arena_;
    size_t scratch_bytes_ = 0;  // of a thread
    AlignedBytes scratch_;
    std::vector<Buffer> kept_;
    std::vector<Step> steps_;
    std::unique_ptr<std::atomic<int64_t>[]> next_item_;  // of each step
    AlignedBytes shared_;
    std::unique_ptr<std::atomic<int64_t>[]> counters_;
    std::vector<ThreadStats> stats_;
    Profile profile_;  // without threads: off
    Barrier barrier_;
};

}  // namespace pyruntime
