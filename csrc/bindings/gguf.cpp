// _core.GGUF: a model file as Python values and NumPy arrays.
#include "gguf/gguf.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "bindings.h"
#include "dispatch/fp_env.h"
#include "formats/formats.h"
#include "gguf/text.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

using gguf::File;
using gguf::Strings;
using gguf::TensorInfo;

constexpr size_t kChunk = size_t{1} << 20;  // of raw bytes, so that dequantizing holds little besides its result

// Paths are bytes to the system: os.fsencode and os.fsdecode keep those that are not valid text.
std::string encode_path(const py::object& path) {
    return py::module_::import("os").attr("fsencode")(path).cast<std::string>();
}

py::object decode_path(const std::string& path) { return py::module_::import("os").attr("fsdecode")(py::bytes(path)); }

py::str to_str(std::string_view s) { return py::str(s.data(), s.size()); }

py::list to_list(const Strings& strings) {
    py::list list(strings.size());
    for (size_t i = 0; i < strings.size(); ++i) list[i] = to_str(strings[i]);
    return list;
}

// `owner`: of the file; null: strings become a list of their own.
py::object to_python(const gguf::Value& value, const std::shared_ptr<File>& owner) {
    return std::visit(
        [&](const auto& v) -> py::object {
            using T = std::decay_t<decltype(v)>;
            if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
                return py::cast(v);
            } else if constexpr (std::is_same_v<T, Strings>) {
                if (!owner) return to_list(v);
                return py::cast(std::shared_ptr<Strings>(owner, const_cast<Strings*>(&v)));  // bound without a setter
            } else {
                py::array_t<typename T::value_type> array(static_cast<py::ssize_t>(v.size()));
                std::copy(v.begin(), v.end(), array.mutable_data());
                return std::move(array);
            }
        },
        value);
}

// Made on first use and kept in the instance's __dict__, as functools.cached_property does.
py::object entries(const py::object& self, const char* name, bool keep_strings) {
    const py::dict cache = self.attr("__dict__");
    if (!cache.contains(name)) {
        const auto file = self.cast<std::shared_ptr<File>>();
        py::dict dict;
        for (const gguf::Entry& entry : file->metadata())
            dict[py::cast(entry.key)] = to_python(entry.value, keep_strings ? file : nullptr);
        cache[name] = dict;
    }
    return cache[name];
}

py::object metadata(const py::object& self) { return entries(self, "_metadata", /*keep_strings=*/false); }

py::object header(const py::object& self) { return entries(self, "_header", /*keep_strings=*/true); }

std::shared_ptr<Strings> make_strings(const py::list& values) {
    auto strings = std::make_shared<Strings>();
    strings->reserve(values.size());
    for (const py::handle value : values) {
        if (!PyUnicode_Check(value.ptr())) throw py::type_error("Strings are made of str");
        Py_ssize_t n_bytes;
        const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &n_bytes);
        if (text == nullptr) throw py::error_already_set();  // a lone surrogate
        strings->push_back({text, static_cast<size_t>(n_bytes)});
    }
    return strings;
}

py::str string_at(const Strings& strings, py::ssize_t i) {
    if (i < 0) i += static_cast<py::ssize_t>(strings.size());
    if (i < 0 || i >= static_cast<py::ssize_t>(strings.size())) throw py::index_error("Strings index out of range");
    return to_str(strings[static_cast<size_t>(i)]);
}

py::list slice_of(const Strings& strings, const py::slice& slice) {
    size_t start, stop, step, n;
    if (!slice.compute(strings.size(), &start, &stop, &step, &n)) throw py::error_already_set();
    py::list list(n);
    for (size_t i = 0; i < n; ++i) list[i] = to_str(strings[start + i * step]);
    return list;
}

py::list tensors(const py::object& self) {
    py::list list;
    for (const TensorInfo& t : self.cast<const File&>().tensors())
        list.append(py::cast(&t, py::return_value_policy::reference_internal, self));
    return list;
}

py::tuple shape_of(const TensorInfo& t) {
    py::tuple shape(t.dims.size());
    for (size_t i = 0; i < t.dims.size(); ++i) shape[i] = t.dims[t.dims.size() - 1 - i];
    return shape;
}

py::array_t<uint8_t> read(const File& file, const std::string& name) {
    const TensorInfo& t = file.tensor(name);
    py::array_t<uint8_t> bytes(static_cast<py::ssize_t>(t.n_bytes));
    uint8_t* dst = bytes.mutable_data();
    py::gil_scoped_release release;
    file.read(t, 0, dst, static_cast<size_t>(t.n_bytes));
    return bytes;
}

py::array_t<float> dequantize(const File& file, const std::string& name) {
    const TensorInfo& t = file.tensor(name);
    const formats::TypeInfo& type = *formats::find_type(t.type);
    if (!type.supported) {
        throw UnsupportedError(gguf::printable(file.paths()[t.part]) + ": tensor " + gguf::quoted(t.name) + " is " +
                               type.name + ", which this version cannot dequantize");
    }
    py::array_t<float> values(std::vector<py::ssize_t>(t.dims.rbegin(), t.dims.rend()));
    float* dst = values.mutable_data();
    py::gil_scoped_release release;
    const FpEnvironment environment;
    const size_t chunk = kChunk / type.n_bytes * type.n_bytes;  // whole blocks
    std::vector<uint8_t> raw(static_cast<size_t>(std::min<uint64_t>(chunk, t.n_bytes)));
    for (uint64_t at = 0; at < t.n_bytes; at += raw.size()) {
        const size_t n_bytes = static_cast<size_t>(std::min<uint64_t>(raw.size(), t.n_bytes - at));
        const size_t n = n_bytes / type.n_bytes * type.n_block;
        file.read(t, at, raw.data(), n_bytes);
        formats::dequantize(t.type, raw.data(), n, dst);
        dst += n;
    }
    return values;
}

}  // namespace

void register_gguf(py::module_& m) {
    py::class_<TensorInfo>(m, "TensorInfo", "A row of the tensor table of a GGUF file.")
        .def_readonly("name", &TensorInfo::name)
        .def_readonly("type", &TensorInfo::type, "The id of the type in the file.")
        .def_property_readonly(
            "type_name", [](const TensorInfo& t) { return formats::find_type(t.type)->name; },
            "The name that gguf.GGMLQuantizationType gives the type, for example Q4_0.")
        .def_property_readonly("shape", &shape_of, "In NumPy's order: the row length is last.")
        .def_readonly("offset", &TensorInfo::offset, "Of its data, from the start of the file that holds it.")
        .def_readonly("n_bytes", &TensorInfo::n_bytes)
        .def("__repr__", [](const TensorInfo& t) {
            return py::str("TensorInfo(name={!r}, type_name={!r}, shape={!r}, offset={}, n_bytes={})")
                .format(t.name, formats::find_type(t.type)->name, shape_of(t), t.offset, t.n_bytes);
        });

    py::class_<Strings, std::shared_ptr<Strings>>(
        m, "Strings", "An array of strings, kept as the file has it: each is made a str when it is asked for.")
        .def(py::init(&make_strings), py::arg("values"))
        .def("__len__", &Strings::size)
        .def("__getitem__", &string_at, py::arg("i"))
        .def("__getitem__", &slice_of, py::arg("part"))
        .def("__repr__", [](const Strings& strings) { return py::repr(to_list(strings)); });

    py::class_<File, std::shared_ptr<File>>(
        m, "GGUF", py::dynamic_attr(),
        "A GGUF model file, version 2 or 3, or the first part of a split one.\n\n"
        "The header is checked against the file while it is opened; all methods "
        "raise GGUFError, which names\nthe file, the field and the byte. Thread-safe.")
        .def(py::init([](const py::object& path) {
                 const std::string encoded = encode_path(path);
                 py::gil_scoped_release release;
                 return std::make_shared<File>(encoded);
             }),
             py::arg("path"))
        .def_property_readonly("path", [](const File& f) { return decode_path(f.path()); })
        .def_property_readonly(
            "paths",
            [](const File& f) {
                py::list list;
                for (const std::string& path : f.paths()) list.append(decode_path(path));
                return list;
            },
            "The files of the model: one, or all parts of a split one.")
        .def_property_readonly("version", &File::version)
        .def_property_readonly("alignment", &File::alignment, "Bytes that the data of each tensor is aligned to.")
        .def_property_readonly("file_bytes", &File::file_bytes, "Of all parts together.")
        .def_property_readonly("metadata", &metadata,
                               "A dict in the order of the file: int, float, bool and str, NumPy arrays of the "
                               "stored dtype, lists of str.")
        .def_property_readonly("header", &header,
                               "As metadata, but with Strings for lists of str: for a vocabulary a tenth of the time "
                               "and of the memory.")
        .def_property_readonly("tensors", &tensors, "A list of TensorInfo, in the order of the file.")
        .def("read", &read, py::arg("name"), "The bytes of a tensor as they are stored: uint8, shape (n_bytes,).")
        .def("dequantize", &dequantize, py::arg("name"),
             "The values of a tensor: float32, of its shape. UnsupportedError if its type is not supported.")
        .def("close", &File::close, "Closes the files; metadata and tensor table stay.")
        .def("__enter__", [](const py::object& self) { return self; })
        .def("__exit__", [](File& f, const py::args&) { f.close(); })
        .def("__repr__", [](const File& f) {
            return py::str("GGUF({!r}, {} tensors)").format(decode_path(f.path()), f.tensors().size());
        });
}

}  // namespace pyruntime::bindings
