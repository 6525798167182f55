// Where all threads of a job meet. A layer has ten barriers, most of them passed within a few hundred nanoseconds.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>

namespace pyruntime {

// Spins at first, then sleeps: who waits for a thread that others keep from its core must not keep a core from it, nor
// use up its own share of the time.
class Barrier {
  public:
    // About 25 us. On a quiet machine more is not faster. Where others want the cores, twice as much makes a prompt of
    // SmolLM2 4 % slower; and to yield in between gives others a whole slice of time at each barrier.
    static constexpr int kSpins = 2000;

    explicit Barrier(int n_threads, int spins = kSpins) : n_threads_(n_threads), spins_(spins) {}

    // Returns when all threads have come. `while_waiting` is called now and then, at least every kPollEvery, once it
    // takes longer. Who comes last does `alone` before anybody goes on.
    template <class WhileWaiting, class Alone>
    void wait(WhileWaiting while_waiting, Alone alone) {
        const unsigned generation = generation_.load(std::memory_order_relaxed);
        if (is_last()) {
            alone();
            release();
        } else if (!spin_until_passed(generation)) {
            while (!sleep_until_passed(generation, /*for_ever=*/false)) while_waiting();
        }
    }
    // Sleeps for as long as it takes: between jobs.
    void wait() {
        const unsigned generation = generation_.load(std::memory_order_relaxed);
        if (is_last())
            release();
        else if (!spin_until_passed(generation))
            sleep_until_passed(generation, /*for_ever=*/true);
    }
    // For one that does not wait.
    void arrive() {
        if (is_last()) release();
    }

  private:
    bool is_last() { return arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_threads_; }
    void release();
    bool passed(unsigned generation) const { return generation_.load(std::memory_order_acquire) != generation; }
    bool spin_until_passed(unsigned generation) const;
    bool sleep_until_passed(unsigned generation, bool for_ever);  // false after kPollEvery

    const int n_threads_, spins_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> generation_{0};
    alignas(64) std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace pyruntime
