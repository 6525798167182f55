// Large blocks of memory: aligned to a cache line, on huge pages where the system gives them, and an error that says
// how much.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace pyruntime {

struct FreeAligned {
    void operator()(uint8_t* p) const;
};
using AlignedBytes = std::unique_ptr<uint8_t[], FreeAligned>;

// Not initialized. Throws MemoryLimitError("cannot allocate ... for <what>").
AlignedBytes allocate(size_t n_bytes, const std::string& what);

std::string megabytes(size_t n_bytes);

}  // namespace pyruntime
