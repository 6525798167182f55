// Block formats: the bytes of a file, dequantized and packed for the kernels. Scalar code: it runs once, while loading.
// The value of each format is in docs/numerics.md; bytes of `dequantize` equal those of `gguf.quants`
// (tests/test_formats.py).
#pragma once
#include <cstddef>
#include <cstdint>

#include "formats/types.h"

namespace pyruntime::formats {

// n elements (whole blocks) to float32. The type must be supported.
void dequantize(uint32_t type, const uint8_t* src, size_t n, float* dst);

}  // namespace pyruntime::formats
