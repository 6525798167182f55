// One register function a bound class; module.cpp calls them all.
#pragma once
#include <pybind11/pybind11.h>

namespace pyruntime::bindings {

constexpr int kMaxThreads = 1024;  // MAX_THREADS of pyruntime/system.py

// True when a signal handler has raised (KeyboardInterrupt): the error stays set for the translator of Interrupted.
bool signals_pending();

void register_errors(pybind11::module_& m);
void register_build_info(pybind11::module_& m);
void register_gguf(pybind11::module_& m);
void register_kernels(pybind11::module_& m);
void register_engine(pybind11::module_& m);
void register_hardware(pybind11::module_& m);
void register_sampler(pybind11::module_& m);
void register_tokenizer(pybind11::module_& m);

}  // namespace pyruntime::bindings
