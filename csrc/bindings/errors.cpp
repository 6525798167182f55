// Each core error becomes the class of the same name in pyruntime.errors.
#include "errors.h"

#include "bindings.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

void raise(const char* name, const char* what) {
    const py::object type = py::module_::import("pyruntime.errors").attr(name);
    PyErr_SetString(type.ptr(), what);
}

}  // namespace

bool signals_pending() {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

void register_errors(py::module_&) {
    py::register_local_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const GGUFError& e) {
            raise("GGUFError", e.what());
        } catch (const MemoryLimitError& e) {
            raise("MemoryLimitError", e.what());
        } catch (const UnsupportedError& e) {
            raise("UnsupportedError", e.what());
        } catch (const ContextError& e) {
            raise("ContextError", e.what());
        } catch (const NumericsError& e) {
            raise("NumericsError", e.what());
        } catch (const Interrupted&) {
            if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);
        } catch (const Error& e) {
            raise("PyruntimeError", e.what());
        }
    });
}

}  // namespace pyruntime::bindings
