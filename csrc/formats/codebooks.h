// What the 4-bit codes of IQ4_NL, IQ4_XS and MXFP4 stand for. (Included by the kernels: constants only.)
#pragma once
#include <stdint.h>

namespace pyruntime::formats {

constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kE2M1Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};  // twice e2m1

}  // namespace pyruntime::formats
