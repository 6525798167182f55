// The floating-point state of the contract, for as long as the object lives: nearest even, no flush-to-zero, no
// denormals-are-zero, no traps. Another library may have changed it; the caller gets its own back.
#pragma once
#include <cfloat>
#include <cstdint>

#ifdef __x86_64__
#include <xmmintrin.h>
#endif

namespace pyruntime {

// Not so on the x87 of 32-bit x86, which would round twice.
static_assert(FLT_EVAL_METHOD == 0, "docs/numerics.md: every operation on float rounds to float");

class FpEnvironment {
  public:
    FpEnvironment() : saved_(get()) { set(kContract); }
    ~FpEnvironment() { set(saved_); }
    FpEnvironment(const FpEnvironment&) = delete;
    FpEnvironment& operator=(const FpEnvironment&) = delete;

  private:
#if defined(__x86_64__)
    static constexpr uint64_t kContract = 0x1f80;  // MXCSR: exceptions masked, everything else 0
    static uint64_t get() { return _mm_getcsr(); }
    static void set(uint64_t v) { _mm_setcsr(uint32_t(v)); }
#elif defined(__aarch64__)
    static constexpr uint64_t kContract = 0;  // FPCR
    static uint64_t get() {
        uint64_t v;
        __asm__ volatile("mrs %0, fpcr" : "=r"(v));
        return v;
    }
    static void set(uint64_t v) { __asm__ volatile("msr fpcr, %0" : : "r"(v)); }
#else
    static constexpr uint64_t kContract = 0;
    static uint64_t get() { return 0; }
    static void set(uint64_t) {}
#endif
    uint64_t saved_;
};

}  // namespace pyruntime
