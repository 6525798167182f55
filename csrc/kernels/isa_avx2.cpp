#include "simd/avx2.h"
//
#include "kernels/all.h"

namespace pyruntime {

extern const KernelTable kernels_avx2;
const KernelTable kernels_avx2 = make_table("avx2");

}  // namespace pyruntime
