#include "dispatch/isa.h"

#include <cstdlib>

#include "dispatch/cpu.h"
#include "errors.h"

namespace pyruntime {

extern const KernelTable kernels_scalar;
#ifdef PYRUNTIME_HAVE_AVX2
extern const KernelTable kernels_avx2;
#endif
#ifdef PYRUNTIME_HAVE_AVX_VNNI
extern const KernelTable kernels_avx_vnni;
#endif
#ifdef PYRUNTIME_HAVE_AVX512_VNNI
extern const KernelTable kernels_avx512_vnni;
#endif
#ifdef PYRUNTIME_HAVE_NEON_DOTPROD
extern const KernelTable kernels_neon_dotprod;
#endif
#ifdef PYRUNTIME_HAVE_NEON_I8MM
extern const KernelTable kernels_neon_i8mm;
#endif

const std::vector<Isa>& compiled_isas() {
    static const std::vector<Isa> isas = {
#ifdef PYRUNTIME_HAVE_AVX512_VNNI
        {&kernels_avx512_vnni, cpu_has_avx512_vnni, "AVX-512 F, BW, VL, DQ and VNNI"},
#endif
#ifdef PYRUNTIME_HAVE_AVX_VNNI
        {&kernels_avx_vnni, cpu_has_avx_vnni, "AVX2, FMA, F16C and AVX-VNNI"},
#endif
#ifdef PYRUNTIME_HAVE_AVX2
        {&kernels_avx2, cpu_has_avx2, "AVX2, FMA and F16C"},
#endif
#ifdef PYRUNTIME_HAVE_NEON_I8MM
        {&kernels_neon_i8mm, cpu_has_neon_i8mm, "NEON with dotprod and i8mm"},
#endif
#ifdef PYRUNTIME_HAVE_NEON_DOTPROD
        {&kernels_neon_dotprod, cpu_has_neon_dotprod, "NEON with dotprod"},
#endif
        {&kernels_scalar, [] { return true; }, "nothing"},
    };
    return isas;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Isa& isa : compiled_isas())
        if (isa.supported()) names.push_back(isa.kernels->name);
    return names;
}

namespace {

std::string join(const std::vector<std::string>& names) {
    std::string s;
    for (const std::string& n : names) s += (s.empty() ? "" : ", ") + n;
    return s;
}

}  // namespace

const KernelTable& choose_isa(const std::string& name) {
    const char* variable = std::getenv("PYRUNTIME_ISA");
    const std::string wanted = !name.empty() ? name : variable ? variable : "";
    const std::string asked = name.empty() ? "PYRUNTIME_ISA" : "isa";
    for (const Isa& isa : compiled_isas()) {
        if (wanted.empty() ? !isa.supported() : wanted != isa.kernels->name) continue;
        if (isa.supported()) return *isa.kernels;
        throw UnsupportedError(asked + ": this CPU or its OS lacks what " + wanted + " needs (" + isa.needs +
                               "); available here: " + join(available_isas()));
    }
    throw UnsupportedError(asked + ": no instruction set named '" + wanted +
                           "' in this build; available here: " + join(available_isas()));
}

}  // namespace pyruntime
