// A model in two files. The first two bytes of an input are the number of bytes of the first one.
#include <algorithm>
#include <cstring>
#include <vector>

#include "fuzz.h"
#include "gguf_file.h"
#include "gguf_mutator.h"

namespace {

constexpr size_t kLength = 2, kMaxPart = 0xFFFF;
constexpr uint64_t kData = 4096;  // zeros after a header

size_t first_part(const uint8_t* data, size_t size) { return std::min<size_t>(data[0] | data[1] << 8, size - kLength); }

void write(const fuzz::ScratchFile& file, const uint8_t* data, size_t n) { file.write(data, n, n + kData); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::ScratchFile first("m-00001-of-00002.gguf"), second("m-00002-of-00002.gguf");
    if (size < kLength) return 0;
    const size_t n = first_part(data, size);
    write(first, data + kLength, n);
    write(second, data + kLength + n, size - kLength - n);
    fuzz::use_file(first.path());
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
    if (size < kLength || seed % 32 == 0) return LLVMFuzzerMutate(data, size, max_size);
    uint8_t* const files = data + kLength;
    const size_t n = first_part(data, size), rest = size - kLength - n, room = max_size - kLength;
    if (seed % 2 == 0) return kLength + n + fuzz::mutate_gguf(files + n, rest, room - n, seed);
    const std::vector<uint8_t> second(files + n, files + n + rest);
    const size_t changed = fuzz::mutate_gguf(files, n, std::min(kMaxPart, room - rest), seed);
    std::copy(second.begin(), second.end(), files + changed);
    data[0] = uint8_t(changed);
    data[1] = uint8_t(changed >> 8);
    return kLength + changed + rest;
}
