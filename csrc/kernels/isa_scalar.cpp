#include "simd/scalar.h"
//
#include "kernels/all.h"

namespace pyruntime {

extern const KernelTable kernels_scalar;
const KernelTable kernels_scalar = make_table("scalar");

}  // namespace pyruntime
