// The sampler, for NumPy logits. The model's own loop calls the C++ class directly.
#include "engine/sampler.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings.h"

namespace py = pybind11;
using namespace py::literals;

namespace pyruntime::bindings {

namespace {

using Logits = py::array_t<float, py::array::c_style>;

Sampler make_sampler(int32_t n_vocab, double temperature, int64_t top_k, double top_p, double min_p,
                     double repetition_penalty, double presence_penalty, double frequency_penalty,
                     int64_t penalty_last_n, const std::map<int64_t, double>& logit_bias, uint64_t seed,
                     uint32_t stream) {
    SamplingParams params;
    params.temperature = temperature;
    params.top_k = top_k;
    params.top_p = top_p;
    params.min_p = min_p;
    params.repetition_penalty = repetition_penalty;
    params.presence_penalty = presence_penalty;
    params.frequency_penalty = frequency_penalty;
    params.penalty_last_n = penalty_last_n;
    params.logit_bias.assign(logit_bias.begin(), logit_bias.end());
    params.seed = seed;
    return Sampler(params, n_vocab, stream);
}

// The GIL stays held: a draw takes well under a millisecond, and two threads must not share the buffers.
int32_t sample(Sampler& self, const Logits& logits, uint64_t position) {
    if (logits.ndim() != 1 || logits.size() != self.n_vocab()) {
        throw std::invalid_argument("logits must have the shape (" + std::to_string(self.n_vocab()) + ",)");
    }
    if (reinterpret_cast<uintptr_t>(logits.data()) % alignof(float) != 0) {
        throw std::invalid_argument("logits must be aligned");
    }
    return self.sample(logits.data(), position);
}

void accept_all(Sampler& self, const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) self.accept(id);
}

}  // namespace

void register_sampler(py::module_& m) {
    py::class_<Sampler, std::shared_ptr<Sampler>>(
        m, "Sampler",
        "Draws token ids from logits (docs/numerics.md, 'Sampling'). One a sequence; see "
        "pyruntime.sampling.Sampling for the parameters.")
        .def(py::init(&make_sampler), "n_vocab"_a, py::kw_only(), "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a,
             "repetition_penalty"_a, "presence_penalty"_a, "frequency_penalty"_a, "penalty_last_n"_a, "logit_bias"_a,
             "seed"_a, "stream"_a)
        .def("accept", &Sampler::accept, "id"_a, "Add an id of the sequence to the history of the penalties.")
        .def("accept_all", &accept_all, "ids"_a, "accept() for each id of a sequence or an integer array.")
        .def("reset", &Sampler::reset, "Forget the history.")
        .def("sample", &sample, "logits"_a.noconvert(), "position"_a,
             "The id drawn from logits (n_vocab,), contiguous float32, for the token at this index of the sequence.\n\n"
             "Does not accept() it. Raises NumericsError if a logit is NaN or infinity, or if all are -infinity.")
        .def_property_readonly("n_vocab", &Sampler::n_vocab)
        .def_property_readonly("seed", &Sampler::seed)
        .def_property_readonly("stream", &Sampler::stream);
}

}  // namespace pyruntime::bindings
