// What instruction sets there are, and the formats' scalar functions, for tests and `_core.isa()`.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "dispatch/fp_env.h"
#include "dispatch/isa.h"
#include "engine/rope_math.h"
#include "errors.h"
#include "formats/formats.h"
#include "formats/pack.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style | py::array::forcecast>;

formats::TypeInfo supported_type(const std::string& name) {
    for (const formats::TypeInfo& t : formats::all_types())
        if (t.supported && name == t.name) return t;
    throw UnsupportedError("type " + name + " is not supported by this version");
}

py::array_t<float> dequantize(const Bytes& data, const std::string& type) {
    const formats::TypeInfo t = supported_type(type);
    if (data.size() % t.n_bytes != 0) throw std::invalid_argument("data is not whole blocks");
    py::array_t<float> out(data.size() / t.n_bytes * t.n_block);
    const FpEnvironment environment;
    formats::dequantize(t.id, data.data(), size_t(out.size()), out.mutable_data());
    return out;
}

// Through the packed form and back: (rows, cols) float32.
py::array_t<float> pack_unpack(const Bytes& data, const std::string& type, size_t rows, size_t cols) {
    const formats::TypeInfo t = supported_type(type);
    const size_t row_bytes = cols / t.n_block * t.n_bytes;
    if (cols % t.n_block != 0 || size_t(data.size()) != rows * row_bytes)
        throw std::invalid_argument("data does not fit the shape");
    py::array_t<float> out({rows, cols});
    const FpEnvironment environment;
    std::vector<uint8_t> group(formats::group_bytes(t.id, cols));
    for (size_t r = 0; r < rows; r += 16) {
        const int n = int(std::min<size_t>(16, rows - r));
        const formats::BadValue bad = formats::pack_group(t.id, data.data() + r * row_bytes, n, cols, group.data());
        if (bad.row >= 0)
            throw GGUFError("row " + std::to_string(r + size_t(bad.row)) + ", column " + std::to_string(bad.column) +
                            ": not finite");
        for (int i = 0; i < n; i++)
            formats::unpack_row(t.id, group.data(), i, cols, out.mutable_data(py::ssize_t(r) + i, 0));
    }
    return out;
}

}  // namespace

void register_kernels(py::module_& m) {
    m.def("available_isas", &available_isas, "Instruction sets of this build that this machine runs, best first.");
    m.def("isa", [] { return choose_isa().name; }, "The instruction set that a model loaded now would use.");
    m.def("supported_types", [] {
        std::vector<std::string> names;
        for (const formats::TypeInfo& t : formats::all_types())
            if (t.supported) names.push_back(t.name);
        return names;
    });
    m.def(
        "type_sizes",
        [] {
            std::map<uint32_t, std::tuple<std::string, uint32_t, uint32_t>> sizes;
            for (const formats::TypeInfo& t : formats::all_types()) sizes[t.id] = {t.name, t.n_block, t.n_bytes};
            return sizes;
        },
        "id -> (name, elements of a block, bytes of a block)");
    m.def("dequantize", &dequantize, py::arg("data"), py::arg("type"));
    m.def("pack_unpack", &pack_unpack, py::arg("data"), py::arg("type"), py::arg("rows"), py::arg("cols"));
    m.def(
        "rope_frequencies",
        [](double theta, int n_rot, double factor, double original_context, double beta_fast, double beta_slow,
           bool truncate) {
            const FpEnvironment environment;
            std::vector<double> frequencies = rope_frequencies(theta, n_rot);
            scale_frequencies(frequencies, theta, {factor, original_context, beta_fast, beta_slow, truncate});
            return frequencies;
        },
        py::arg("theta"), py::arg("n_rot"), py::kw_only(), py::arg("factor") = 1, py::arg("original_context") = 0,
        py::arg("beta_fast") = 32, py::arg("beta_slow") = 1, py::arg("truncate") = true,
        "Frequencies of the contract, for tests. With an original context theta must be above 1.");
    m.def(
        "sincos",
        [](double angle) {
            const FpEnvironment environment;
            double s, c;
            portable_sincos(angle, s, c);
            return std::make_pair(s, c);
        },
        py::arg("angle"), "The sine and cosine of the contract (docs/numerics.md), for tests.");
}

}  // namespace pyruntime::bindings
