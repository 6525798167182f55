#include "simd/avx512_vnni.h"
//
#include "kernels/all.h"

namespace pyruntime {

extern const KernelTable kernels_avx512_vnni;
const KernelTable kernels_avx512_vnni = make_table("avx512_vnni");

}  // namespace pyruntime
