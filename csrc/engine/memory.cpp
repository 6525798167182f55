#include "engine/memory.h"

#include <cstdio>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

#include "errors.h"

namespace pyruntime {

namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t(2) << 20;

#ifdef _WIN32
void* aligned(size_t alignment, size_t n_bytes) { return _aligned_malloc(n_bytes, alignment); }
void free_aligned(void* p) { _aligned_free(p); }
#else
void* aligned(size_t alignment, size_t n_bytes) {
    void* p = nullptr;  // not std::aligned_alloc, which macOS has only since 10.15
    return posix_memalign(&p, alignment, n_bytes) == 0 ? p : nullptr;
}
void free_aligned(void* p) { std::free(p); }
#endif

}  // namespace

void FreeAligned::operator()(uint8_t* p) const { free_aligned(p); }

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
    void* const p = aligned(alignment, rounded ? rounded : alignment);
    if (!p) throw MemoryLimitError("cannot allocate " + megabytes(n_bytes) + " for " + what);
#ifdef __linux__
    if (huge) madvise(p, rounded, MADV_HUGEPAGE);  // a hint: without it the same bits, slower
#endif
    return AlignedBytes(static_cast<uint8_t*>(p));
}

}  // namespace pyruntime
