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
    explicit Barrier(int n_threads) : n_threads_(n_threads) {}

    // Returns when all threads have come. `while_waiting` is called now and then, at least every kPollEvery, once it
    // takes longer.
    template <class WhileWaiting>
    void wait(WhileWaiting while_waiting) {
        const unsigned generation = generation_.load(std::memory_order_relaxed);
        if (arrive()) return;
        for (int spins = 0; spins < kSpins; spins++) {
            if (passed(generation)) return;
            cpu_relax();
        }
        while (!sleep_until_passed(generation)) while_waiting();
    }

  private:
    // About 25 us. On a quiet machine more is not faster. Where others want the cores, twice as much makes a prompt of
    // SmolLM2 4 % slower; and to yield in between gives others a whole slice of time at each barrier.
    static constexpr int kSpins = 2000;

    bool arrive();  // whether it was the last
    bool passed(unsigned generation) const { return generation_.load(std::memory_order_acquire) != generation; }
    bool sleep_until_passed(unsigned generation);  // false after kPollEvery
    static void cpu_relax();                       // tells the processor that this is a spin loop

    const int n_threads_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> generation_{0};
    alignas(64) std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

}  // namespace pyruntime
