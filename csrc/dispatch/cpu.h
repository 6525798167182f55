// What the CPU has and the OS saves.
#pragma once

namespace pyruntime {

bool cpu_has_avx2();         // with FMA and F16C
bool cpu_has_avx_vnni();     // and what cpu_has_avx2() says
bool cpu_has_avx512_vnni();  // F, BW, VL, DQ, VNNI
bool cpu_has_neon_dotprod();
bool cpu_has_neon_i8mm();  // and dotprod

}  // namespace pyruntime
