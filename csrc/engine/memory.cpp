#include "engine/memory.h"

#include <cstdio>
#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "errors.h"

namespace pyruntime {

namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t(2) << 20;

}  // namespace

void FreeAligned::operator()(uint8_t* p) const { std::free(p); }

std::string megabytes(size_t n_bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f MB", double(n_bytes) / 1e6);
    return text;
}

AlignedBytes allocate(size_t n_bytes, const std::string& what) {
    // From 4 MB on, huge pages: streaming 100 MB of weights a token through 4 KB pages costs TLB misses.
    const bool huge = n_bytes >= 2 * kHugePage;
    const size_t alignment = huge ? kHugePage : kCacheLine;
    const size_t rounded = (n_bytes + alignment - 1) / alignment * alignment;
    if (rounded < n_bytes) throw MemoryLimitError("cannot allocate " + megabytes(n_bytes) + " for " + what);
    void* p = nullptr;  // not std::aligned_alloc, which macOS has only since 10.15
    if (posix_memalign(&p, alignment, rounded ? rounded : alignment) != 0)
        throw MemoryLimitError("cannot allocate " + megabytes(n_bytes) + " for " + what);
#ifdef __linux__
    if (huge) madvise(p, rounded, MADV_HUGEPAGE);  // a hint: without it the same bits, slower
#endif
    return AlignedBytes(static_cast<uint8_t*>(p));
}

}  // namespace pyruntime
