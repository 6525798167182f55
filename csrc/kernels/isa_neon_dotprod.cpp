#include "simd/neon_dotprod.h"
//
#include "kernels/all.h"

namespace pyruntime {

extern const KernelTable kernels_neon_dotprod;
const KernelTable kernels_neon_dotprod = make_table("neon_dotprod");

}  // namespace pyruntime
