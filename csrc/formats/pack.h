// From the rows of a file to the order in which the kernels read: groups of 16 rows, interleaved: a lane is a row.
//
// A group of a matrix of `cols` columns, blocks = cols / 32, wide = cols / 256, rows r = 0..15. First come the codes,
// 32 columns after 32 columns, in bit planes as planes.h draws them; then arrays of scales, one after the other:
//
//                      codes, bytes       arrays
//   Q4_0, IQ4_NL       blocks x 256       d [blocks][16 r] binary16
//   Q4_1               blocks x 256       d, m [blocks][16 r] binary16
//   Q5_0               blocks x (256+64)  as Q4_0
//   Q5_1               blocks x (256+64)  as Q4_1
//   Q8_0               blocks x 512       as Q4_0
//   MXFP4              blocks x 256       e [blocks][16 r] bytes
//   Q2_K               blocks x 128       d, -m [wide][16 r] binary16; scale and min [blocks][2 parts][16 r] nibbles
//   Q3_K               blocks x (128+64)  d [wide][16 r] binary16; scales [blocks][2 parts][16 r] int8
//   Q4_K               blocks x 256       d, -m [wide][16 r] binary16; scales, mins [blocks][16 r] bytes
//   Q5_K               blocks x (256+64)  as Q4_K
//   Q6_K               blocks x (256+128) as Q3_K
//   IQ4_XS             blocks x 256       d [wide][16 r] binary16; scales [blocks][16 r] int8
//   F16, BF16, F32     [cols][16 r], as they are
//
// That is the size of the file, and 1 to 4 % more where scales of 6 bits become bytes. Codes are aligned to 64 bytes.
// Rows past the end are zero. A group is padded to 64 bytes.
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
