// The tensor types of GGUF: id, name, elements and bytes of a block. All known types are listed, so that a file that
// holds one can be sized and named; `supported` says which of them this version computes with.
#pragma once
#include <cstddef>
#include <cstdint>

namespace pyruntime::formats {

struct TypeInfo {
    uint32_t id;       // as stored in the file
    const char* name;  // as `gguf.GGMLQuantizationType` spells it
    uint32_t n_block;  // elements of a block; a row is a whole number of blocks
    uint32_t n_bytes;  // bytes of a block
    bool supported;    // dequantize, pack and products exist
};

enum Type : uint32_t { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, BF16 = 30 };

// The entry of a type id, or nullptr if GGUF has no such type.
const TypeInfo* find_type(uint32_t id);

}  // namespace pyruntime::formats
