// Rows of blocks of every format, as they come: dequantized, packed and unpacked. The first byte of an input is the
// format, the second the number of rows; the rest is repeated until it fills them.
#include <cmath>
#include <cstring>
#include <vector>

#include "formats/formats.h"
#include "formats/pack.h"
#include "formats/planes.h"
#include "fuzz.h"

namespace {

using namespace pyruntime::formats;

constexpr size_t kCols = 512;  // two blocks of the largest

std::vector<TypeInfo> supported_types() {
    std::vector<TypeInfo> types;
    for (const TypeInfo& type : all_types())
        if (type.supported) types.push_back(type);
    return types;
}

bool same_bits(const float* a, const float* b, size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

// The first element of the rows that makes its block unfit for a model, or -1. In a block of several that is its first.
long first_bad(const TypeInfo& type, const std::vector<uint8_t>& raw, const std::vector<float>& values) {
    for (size_t i = 0; i < values.size(); i++) {
        const size_t block = i / type.n_block;
        // 2^127 times a code of MXFP4 may be infinite, or 0; NaN is what the scale stands for.
        const bool bad = type.id == MXFP4 ? raw[block * type.n_bytes] == 255 : !std::isfinite(values[i]);
        if (bad) return long(block * type.n_block);
    }
    return -1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::vector<TypeInfo> types = supported_types();
    if (size < 3) return 0;
    fuzz::reached.inputs++;
    fuzz::reached.inside++;
    const TypeInfo& type = types[data[0] % types.size()];
    const size_t n_rows = 1 + data[1] % 16, n = n_rows * kCols;
    std::vector<uint8_t> raw(n / type.n_block * type.n_bytes);
    for (size_t i = 0; i < raw.size(); i++) raw[i] = data[2 + i % (size - 2)];

    std::vector<float> values(n), block(type.n_block);
    dequantize(type.id, raw.data(), n, values.data());
    const size_t last = n / type.n_block - 1;
    dequantize(type.id, &raw[last * type.n_bytes], type.n_block, block.data());
    fuzz::require(same_bits(block.data(), &values[last * type.n_block], type.n_block), "a block depends on no other");

    std::vector<uint8_t> group(group_bytes(type.id, kCols));
    const BadValue bad = pack_group(type.id, raw.data(), int(n_rows), kCols, group.data());
    const long expected = first_bad(type, raw, values);
    const long found = bad.row < 0 ? -1 : long(size_t(bad.row) * kCols + bad.column);
    fuzz::require(found == expected, "the first value that is not finite is found:", type.name);
    if (found >= 0) return 0;
    std::vector<float> row(kCols);
    for (size_t r = 0; r < n_rows; r++) {
        unpack_row(type.id, group.data(), int(r), kCols, row.data());
        fuzz::require(same_bits(row.data(), &values[r * kCols], kCols), "unpacking gives the values of the file");
    }
    if (n_rows < kGroupRows) {
        unpack_row(type.id, group.data(), int(n_rows), kCols, row.data());
        for (const float v : row) fuzz::require(v == 0, "rows past the end are zero");
    }
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, max_size);
    if (size > 0) data[0] = uint8_t(seed >> 8);  // every format of everything found
    return size;
}
