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

// Those that are supported.
enum Type : uint32_t {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    IQ4_NL = 20,
    IQ4_XS = 23,
    BF16 = 30,
    MXFP4 = 39,
};

// The entry of a type id, or nullptr if GGUF has no such type.
const TypeInfo* find_type(uint32_t id);

}  // namespace pyruntime::formats
