// A GGUF file: all that a program does with one it was given. The first byte of an input is the binary logarithm of
// the file's size, to which the rest is extended by zeros (so that tensors have data without bytes of the input).
#include <algorithm>

#include "fuzz.h"
#include "gguf_file.h"
#include "gguf_mutator.h"

constexpr unsigned kMaxLog = 17;  // 128 KB: matrices of some blocks

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::ScratchFile scratch("input.gguf");
    if (size == 0) return 0;
    scratch.write(data + 1, size - 1, std::max<uint64_t>(size - 1, uint64_t(1) << data[0] % (kMaxLog + 1)));
    fuzz::use_file(scratch.path());
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
    if (size == 0 || seed % 32 == 0) return LLVMFuzzerMutate(data, size, max_size);
    return 1 + fuzz::mutate_gguf(data + 1, size - 1, max_size - 1, seed);
}
