// Mutations that know where the numbers, strings, entries and tensors of a GGUF file lie, so that most mutants come
// past the header and are wrong further inside.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fuzz {

// Changes the file in `data`; returns its new size, at most max_size.
size_t mutate_gguf(uint8_t* data, size_t size, size_t max_size, unsigned seed);

}  // namespace fuzz
