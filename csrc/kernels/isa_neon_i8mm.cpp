#include "simd/neon_i8mm.h"
//
#include "kernels/all.h"

namespace pyruntime {

extern const KernelTable kernels_neon_i8mm;
const KernelTable kernels_neon_i8mm = make_table("neon_i8mm");

}  // namespace pyruntime
