// From the rows of a file to the order in which the kernels read: groups of 16 rows, interleaved: a lane is a row.
//
// A group of a matrix of `cols` columns, blocks = cols / 32, rows r = 0..15; arrays follow each other in this order:
//
//   Q4_0             q  [blocks][4 j][16 r][4 c] bytes; low nibble: column 8j + c, high nibble: column 8j + 4 + c
//                    d  [blocks][16 r] binary16
//   Q4_1             q, d  as Q4_0
//                    m  [blocks][16 r] binary16
//   Q8_0             q  [blocks][8 k][16 r][4 c] int8; column 4k + c
//                    d  [blocks][16 r] binary16
//   F16, BF16, F32      [cols][16 r], as they are
//
// Every array starts at a multiple of 32 bytes. Rows past the end are zero. A group is padded to 64 bytes.
#pragma once
#include <cstddef>
#include <cstdint>

#include "formats/types.h"

namespace pyruntime::formats {

size_t group_bytes(uint32_t type, size_t cols);

// A place in a row, in elements, whose scale or value is not finite; -1: all are finite.
struct BadValue {
    int row = -1;
    size_t column = 0;
};

// n_rows (1..16) rows of the file into one group. The first value that is not finite stops it.
BadValue pack_group(uint32_t type, const uint8_t* src, int n_rows, size_t cols, uint8_t* group);

// One row of a group as float32: the inverse, with the values of `dequantize`.
void unpack_row(uint32_t type, const uint8_t* group, int row, size_t cols, float* dst);

}  // namespace pyruntime::formats
