// _core.build_info(): what this extension was built from, with and for. CMakeLists.txt defines the PYRUNTIME_ macros.
#include <pybind11/pybind11.h>

#include <string>

#include "bindings.h"
#include "dispatch/isa.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

#ifdef Py_GIL_DISABLED
constexpr bool kFreeThreaded = true;
#else
constexpr bool kFreeThreaded = false;
#endif

py::dict build_info() {
    py::list isas;
    for (const Isa& isa : compiled_isas()) {
        py::dict entry;
        entry["name"] = isa.kernels->name;
        entry["needs"] = isa.needs;
        entry["supported"] = isa.supported();
        isas.append(entry);
    }
    const std::string compiler = kCompiler;
    py::dict info;
    info["version"] = PYRUNTIME_VERSION;
    info["compiler"] = compiler.substr(0, compiler.find_last_not_of(' ') + 1);
    info["build_type"] = PYRUNTIME_BUILD_TYPE;
    info["sanitized"] = kSanitized;
    info["processor"] = PYRUNTIME_PROCESSOR;
    info["free_threaded"] = kFreeThreaded;
    info["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_MINOR);
    info["isas"] = isas;
    return info;
}

}  // namespace

void register_build_info(py::module_& m) {
    m.def("build_info", &build_info,
          "What this extension was built from (the package's version), with (compiler, CMake's build type, pybind11, "
          "sanitizers, a Python\nwith or without the GIL) and for (processor, and isas, best first: what each needs, "
          "and whether this machine has it).");
}

}  // namespace pyruntime::bindings
