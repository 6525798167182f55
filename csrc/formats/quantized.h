// From a type id to the description of its format.
#pragma once
#include <stdexcept>

#include "formats/iq.h"
#include "formats/k.h"
#include "formats/legacy.h"
#include "formats/types.h"

namespace pyruntime::formats {

// use(format) for the quantized format of that id.
template <class Use>
auto with_format(uint32_t type, const Use& use) {
    switch (type) {
        case Q4_0:
            return use(traits::Q4_0());
        case Q4_1:
            return use(traits::Q4_1());
        case Q5_0:
            return use(traits::Q5_0());
        case Q5_1:
            return use(traits::Q5_1());
        case Q8_0:
            return use(traits::Q8_0());
        case Q2_K:
            return use(traits::Q2_K());
        case Q3_K:
            return use(traits::Q3_K());
        case Q4_K:
            return use(traits::Q4_K());
        case Q5_K:
            return use(traits::Q5_K());
        case Q6_K:
            return use(traits::Q6_K());
        case IQ4_NL:
            return use(traits::IQ4_NL());
        case IQ4_XS:
            return use(traits::IQ4_XS());
        case MXFP4:
            return use(traits::MXFP4());
        default:
            throw std::invalid_argument("no format of quantized weights has this type");
    }
}

// Files do not align blocks, so each one is copied before it is read.
template <class Block>
Block read_block(const uint8_t* blocks, size_t index) {
    Block block;
    std::memcpy(&block, blocks + index * sizeof(Block), sizeof(Block));
    return block;
}

// Codes and scales of a block to numbers.
template <class Format>
void values(const uint8_t* codes, const typename Format::Scales& scales, float* to) {
    for (int i = 0; i < Format::kElements; i += Format::kPart) {
        const int part = i / Format::kPart;
        const float d = Format::scale(scales, part);
        for (int k = i; k < i + Format::kPart; k++) to[k] = d * float(Format::value(codes[k]));
        if constexpr (Format::kHasMin) {
            const float m = Format::min(scales, part);
            for (int k = i; k < i + Format::kPart; k++) to[k] += m;
        }
    }
}

}  // namespace pyruntime::formats
