#include "bindings.h"

PYBIND11_MODULE(_core, m) {
    using namespace pyruntime::bindings;
    m.doc() = "The C++ core of pyruntime: GGUF reader, kernels, plan executor, KV pages, sampler, tokens.";
    register_errors(m);
    register_build_info(m);
    register_gguf(m);
    register_kernels(m);
    register_engine(m);
    register_hardware(m);
    register_sampler(m);
    register_tokenizer(m);
}
