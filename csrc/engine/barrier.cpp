#include "engine/barrier.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "engine/poll.h"

namespace pyruntime {

namespace {

// Tells the processor that this is a spin loop.
void cpu_relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

// Who comes last changes the generation and then looks for sleepers; who sleeps is counted and then looks at the
// generation. Both in one order over all threads (seq_cst), so one of them sees the other.
void Barrier::release() {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
        const std::lock_guard<std::mutex> lock(mutex_);  // a sleeper is either before its look or in its sleep
        wake_.notify_all();
    }
}

bool Barrier::spin_until_passed(unsigned generation) const {
    for (int spins = 0; spins < spins_; spins++) {
        if (passed(generation)) return true;
        cpu_relax();
    }
    return false;
}

bool Barrier::sleep_until_passed(unsigned generation, bool for_ever) {
    const auto woken = [&] { return generation_.load(std::memory_order_seq_cst) != generation; };
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    if (for_ever) wake_.wait(lock, woken);
    const bool is_woken = for_ever || wake_.wait_for(lock, kPollEvery, woken);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return is_woken;
}

}  // namespace pyruntime
