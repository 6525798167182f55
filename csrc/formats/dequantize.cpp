#include "formats/formats.h"
#include "formats/half.h"
#include "formats/quantized.h"

namespace pyruntime::formats {

namespace {

template <class Widen>
void each_u16(const uint8_t* src, size_t n, float* dst, Widen widen) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        std::memcpy(&h, src + 2 * i, 2);
        dst[i] = widen(h);
    }
}

}  // namespace

void dequantize(uint32_t type, const uint8_t* src, size_t n, float* dst) {
    switch (type) {
        case F32:
            std::memcpy(dst, src, n * 4);
            return;
        case F16:
            return each_u16(src, n, dst, half_to_float);
        case BF16:
            return each_u16(src, n, dst, bf16_to_float);
        default:
            return with_format(type, [&](auto format) {
                using Format = decltype(format);
                using Block = typename Format::Block;
                constexpr int n_block = Format::kElements;
                uint8_t codes[n_block];
                for (size_t b = 0; b < n / n_block; b++) {
                    const Block block = read_block<Block>(src, b);
                    Format::codes(block, codes);
                    values<Format>(codes, Format::scales(block), dst + n_block * b);
                }
            });
    }
}

}  // namespace pyruntime::formats
