#include "dispatch/cpu.h"

#include <cstdint>

#ifdef __x86_64__
#include <cpuid.h>

namespace pyruntime {

namespace {

struct Registers {
    uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t sub = 0) {
    Registers r = {};
    __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
    return r;
}

// Which register states the OS saves over a task switch (XCR0); a CPU may have AVX under an OS that does not.
uint64_t saved_states() {
    if (!(cpuid(1).c >> 27 & 1)) return 0;  // OSXSAVE
    uint32_t a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return uint64_t(d) << 32 | a;
}

bool all_bits(uint64_t value, uint64_t mask) { return (value & mask) == mask; }

}  // namespace

bool cpu_has_avx2() {
    constexpr uint32_t fma = 1u << 12, avx = 1u << 28, f16c = 1u << 29, avx2 = 1u << 5;
    return all_bits(saved_states(), 0x6) && all_bits(cpuid(1).c, fma | avx | f16c) && all_bits(cpuid(7).b, avx2);
}

bool cpu_has_avx_vnni() {
    constexpr uint32_t vnni = 1u << 4;
    return cpu_has_avx2() && cpuid(7).a >= 1 && all_bits(cpuid(7, 1).a, vnni);
}

bool cpu_has_avx512_vnni() {
    constexpr uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, vnni = 1u << 11;
    return cpu_has_avx2() && all_bits(saved_states(), 0xe6) && all_bits(cpuid(7).b, f | dq | bw | vl) &&
           all_bits(cpuid(7).c, vnni);
}

bool cpu_has_neon_dotprod() { return false; }
bool cpu_has_neon_i8mm() { return false; }

}  // namespace pyruntime

#else

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace pyruntime {

#if defined(__aarch64__) && defined(__APPLE__)
namespace {

bool apple_has(const char* feature) {
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname(feature, &has, &size, nullptr, 0) == 0 && has;
}

}  // namespace
#endif

bool cpu_has_avx2() { return false; }
bool cpu_has_avx_vnni() { return false; }
bool cpu_has_avx512_vnni() { return false; }

bool cpu_has_neon_dotprod() {
#if defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) && (getauxval(AT_HWCAP) & HWCAP_ASIMDHP);
#elif defined(__aarch64__) && defined(__APPLE__)
    return apple_has("hw.optional.arm.FEAT_DotProd");
#else
    return false;
#endif
}

bool cpu_has_neon_i8mm() {
#if defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long i8mm = 1ul << 13;  // HWCAP2_I8MM, which headers before Linux 5.7 lack
    return cpu_has_neon_dotprod() && (getauxval(AT_HWCAP2) & i8mm);
#elif defined(__aarch64__) && defined(__APPLE__)
    return cpu_has_neon_dotprod() && apple_has("hw.optional.arm.FEAT_I8MM");
#else
    return false;
#endif
}

}  // namespace pyruntime

#endif
