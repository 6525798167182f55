// The sampler, for NumPy logits. The model's own loop calls the C++ class directly.
#include "engine/sampler.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "dispatch/isa.h"
#include "engine/logprobs.h"
#include "errors.h"
#include "kernels/table.h"

namespace py = pybind11;
using namespace py::literals;

namespace pyruntime::bindings {

namespace {

using Logits = py::array_t<float, py::array::c_style>;

// One keyword argument, which must be there and of the type of the field.
template <class T>
void take(py::kwargs& given, const char* name, T& field) {
    if (!given.contains(name)) throw py::type_error(std::string("Sampler needs ") + name);
    try {
        field = given.attr("pop")(name).template cast<T>();
    } catch (const py::cast_error&) {
        throw py::type_error(std::string(name) + " is of a wrong type");
    }
}

Sampler make_sampler(int32_t n_vocab, uint32_t stream, std::optional<int64_t> top_logprobs, py::kwargs given) {
    SamplingParams params;
    std::map<int64_t, double> logit_bias;
    take(given, "temperature", params.temperature);
    take(given, "top_k", params.top_k);
    take(given, "top_p", params.top_p);
    take(given, "min_p", params.min_p);
    take(given, "typical_p", params.typical_p);
    take(given, "top_n_sigma", params.top_n_sigma);
    take(given, "xtc_probability", params.xtc_probability);
    take(given, "xtc_threshold", params.xtc_threshold);
    take(given, "dynatemp_range", params.dynatemp_range);
    take(given, "dynatemp_exponent", params.dynatemp_exponent);
    take(given, "mirostat", params.mirostat);
    take(given, "mirostat_tau", params.mirostat_tau);
    take(given, "mirostat_eta", params.mirostat_eta);
    take(given, "repetition_penalty", params.repetition_penalty);
    take(given, "presence_penalty", params.presence_penalty);
    take(given, "frequency_penalty", params.frequency_penalty);
    take(given, "penalty_last_n", params.penalty_last_n);
    take(given, "dry_multiplier", params.dry_multiplier);
    take(given, "dry_base", params.dry_base);
    take(given, "dry_allowed_length", params.dry_allowed_length);
    take(given, "dry_penalty_last_n", params.dry_penalty_last_n);
    take(given, "dry_breakers", params.dry_breakers);
    take(given, "logit_bias", logit_bias);
    take(given, "seed", params.seed);
    if (!given.empty())
        throw py::type_error("Sampler has no " + py::str(*given.attr("keys")().begin()).cast<std::string>());
    params.logit_bias.assign(logit_bias.begin(), logit_bias.end());
    return Sampler(params, n_vocab, stream, top_logprobs);
}

std::optional<std::pair<Logprobs::Entry, std::vector<Logprobs::Entry>>> logprobs(const Sampler& self) {
    const Logprobs* of_last = self.logprobs();
    if (!of_last) return {};
    return {{of_last->chosen(), of_last->top()}};
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

// Of each row of finite logits: the log probability of an id, and the likeliest n_top.
py::tuple log_probabilities(const Logits& logits, const py::array_t<int32_t, py::array::c_style>& ids, int64_t n_top) {
    if (logits.ndim() != 2 || ids.ndim() != 1 || logits.shape(0) != ids.shape(0))
        throw std::invalid_argument("logits must be (n, n_vocab), and ids (n,)");
    const int64_t n = logits.shape(0), n_vocab = logits.shape(1);
    if (n_top < 0 || n_top > n_vocab) throw std::invalid_argument("n_top must be between 0 and n_vocab");
    py::array_t<double> chosen(n), top({n, n_top});
    py::array_t<int32_t> top_ids({n, n_top});
    double *to_chosen = chosen.mutable_data(), *to_top = top.mutable_data();
    int32_t* to_ids = top_ids.mutable_data();
    {
        const py::gil_scoped_release release;
        const KernelTable& kernels = choose_isa("");
        Logprobs row(static_cast<size_t>(n_top));
        for (int64_t i = 0; i < n; i++) {
            const float* x = logits.data() + i * n_vocab;
            const int32_t id = ids.data()[i];
            if (id < 0 || id >= n_vocab) throw std::invalid_argument("token id " + std::to_string(id));
            if (!kernels.all_finite(x, n_vocab)) throw NumericsError("the logits are not finite");
            row.compute(kernels, x, static_cast<size_t>(n_vocab), id);
            to_chosen[i] = row.chosen().second;
            for (const auto& [top_id, value] : row.top()) {
                *to_ids++ = top_id;
                *to_top++ = value;
            }
        }
    }
    return py::make_tuple(chosen, top_ids, top);
}

void accept_all(Sampler& self, const std::vector<int32_t>& ids) {
    for (const int32_t id : ids) self.accept(id);
}

}  // namespace

void register_sampler(py::module_& m) {
    m.def("log_probabilities", &log_probabilities, "logits"_a.noconvert(), "ids"_a.noconvert(), "n_top"_a,
          "Of each row of logits, float32 (n, n_vocab): the natural logarithm of the probability of its id, float64 "
          "(n,); the ids of the likeliest n_top, best first, int32 (n, n_top), and theirs.");
    py::class_<Sampler, std::shared_ptr<Sampler>>(
        m, "Sampler",
        "Draws token ids from logits (docs/numerics.md, 'Sampling'). One a sequence; see "
        "pyruntime.sampling.Sampling for the parameters.")
        .def(py::init(&make_sampler), "n_vocab"_a, py::kw_only(), "stream"_a, "top_logprobs"_a = py::none())
        .def("accept", &Sampler::accept, "id"_a, "Add an id of the sequence to what the penalties and mirostat know.")
        .def("accept_all", &accept_all, "ids"_a, "accept() for each id of a sequence or an integer array.")
        .def("reset", &Sampler::reset, "Forget all that was accepted.")
        .def("sample", &sample, "logits"_a.noconvert(), "position"_a,
             "The id drawn from logits (n_vocab,), contiguous float32, for the token at this index of the sequence.\n\n"
             "Does not accept() it. Raises NumericsError if a logit is NaN or infinity, or if all are -infinity.")
        .def_property_readonly("logprobs", &logprobs,
                               "Of the id sampled last: (id, log probability), and a list of such pairs of the "
                               "likeliest; None where they were not asked for.")
        .def_property_readonly("n_vocab", &Sampler::n_vocab)
        .def_property_readonly("seed", &Sampler::seed)
        .def_property_readonly("stream", &Sampler::stream);
}

}  // namespace pyruntime::bindings
