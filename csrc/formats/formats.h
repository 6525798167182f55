// The values of the formats, in scalar code: docs/numerics.md has the formulas, and the results equal those of
// `gguf.quants` byte for byte (tests/test_formats.py). pack.h has the order in which the kernels read.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "formats/types.h"

namespace pyruntime::formats {

// All that find_type() knows, by id. (Not in types.h, which the kernels include: no standard library there.)
std::vector<TypeInfo> all_types();

// n elements (whole blocks) to float32. The type must be supported.
void dequantize(uint32_t type, const uint8_t* src, size_t n, float* dst);

}  // namespace pyruntime::formats
