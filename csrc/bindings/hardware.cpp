// _core.memory_bandwidth() and _core.int8_peak(): what the machine gives.
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "bindings.h"
#include "dispatch/isa.h"
#include "engine/hardware.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

void require_threads(int n_threads) {
    if (n_threads < 1 || n_threads > kMaxThreads)
        throw std::invalid_argument("n_threads must be between 1 and " + std::to_string(kMaxThreads) + ", not " +
                                    std::to_string(n_threads));
}

}  // namespace

void register_hardware(py::module_& m) {
    m.def(
        "memory_bandwidth",
        [](int n_threads, size_t n_bytes) {
            require_threads(n_threads);
            const py::gil_scoped_release release;
            return memory_bandwidth(n_threads, n_bytes, signals_pending);
        },
        py::arg("n_threads"), py::arg("n_bytes") = size_t(256) << 20,
        "Bytes a second that threads read from memory at best: a buffer of n_bytes, several times what the caches "
        "hold. Takes 0.3 s.");
    m.def(
        "int8_peak",
        [](int n_threads, const std::string& isa) {
            require_threads(n_threads);
            const KernelTable& kernels = choose_isa(isa);
            const py::gil_scoped_release release;
            return int8_peak(kernels, n_threads, signals_pending);
        },
        py::arg("n_threads"), py::arg("isa") = "",
        "Operations a second, two for each product added up, that threads make of bytes at best. Takes 0.3 s.");
}

}  // namespace pyruntime::bindings
