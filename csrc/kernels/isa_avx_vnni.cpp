#include "simd/avx_vnni.h"
//
#include "kernels/all.h"

namespace pyruntime {

extern const KernelTable kernels_avx_vnni;
const KernelTable kernels_avx_vnni = make_table("avx_vnni");

}  // namespace pyruntime
