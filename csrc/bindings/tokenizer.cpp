// _core.Tokens, Merges and BPE: a vocabulary without a Python object for each token.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings.h"
#include "gguf/strings.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokens.h"

namespace py = pybind11;

namespace pyruntime::bindings {

namespace {

using gguf::Strings;
using tokenizer::BPE;
using tokenizer::Merges;
using tokenizer::Tokens;

// For py::make_iterator.
struct EncodedToken {
    const Tokens* tokens;
    size_t id;
    py::bytes operator*() const {
        const std::string_view token = (*tokens)[id];
        return py::bytes(token.data(), token.size());
    }
    EncodedToken& operator++() {
        id++;
        return *this;
    }
    bool operator==(const EncodedToken& other) const { return id == other.id; }
};

py::str token_at(const Tokens& tokens, size_t id) {
    if (id >= tokens.size()) throw py::index_error("no token " + std::to_string(id));
    const std::string_view token = tokens[id];
    return py::str(token.data(), token.size());
}

std::string_view utf8(py::handle text) {
    Py_ssize_t n_bytes;
    const char* bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &n_bytes);
    if (bytes == nullptr) throw py::error_already_set();
    return {bytes, static_cast<size_t>(n_bytes)};
}

// words: [(word, anything), ...], as a pre-tokenizer of the `tokenizers` library gives them.
py::list encode(const BPE& bpe, const py::list& words) {
    BPE::Scratch scratch;
    std::vector<int32_t> ids;
    for (const py::handle word : words) {
        const py::object text = word.cast<py::tuple>()[0];
        bpe.encode(utf8(text), scratch, ids);
    }
    py::list list(ids.size());
    for (size_t i = 0; i < ids.size(); i++) list[i] = ids[i];
    return list;
}

}  // namespace

void register_tokenizer(py::module_& m) {
    py::class_<Tokens, std::shared_ptr<Tokens>>(m, "Tokens", "The tokens of a vocabulary, by id and by spelling.")
        .def(py::init([](const std::shared_ptr<Strings>& strings) { return std::make_shared<Tokens>(strings); }),
             py::arg("strings").none(false))
        .def("__len__", &Tokens::size)
        .def("__getitem__", &token_at, py::arg("id"))
        .def(
            "find", [](const Tokens& tokens, py::str token) { return tokens.find(utf8(token)); }, py::arg("token"),
            "The id of a token, or None.")
        .def(
            "encoded",
            [](const Tokens& tokens) {
                return py::make_iterator<py::return_value_policy::move>(EncodedToken{&tokens, 0},
                                                                        EncodedToken{&tokens, tokens.size()});
            },
            py::keep_alive<0, 1>(), "All of them in UTF-8, in the order of their ids.")
        .def_property_readonly("duplicate", &Tokens::duplicate,
                               "The first token that is there again and where it is for the last time, or None.");

    py::class_<Merges, std::shared_ptr<Merges>>(
        m, "Merges", "What BPE merges, in the order of the ranks: lines of two tokens with a space between.")
        .def(py::init(
                 [](const Tokens& tokens, const Strings& lines) { return std::make_shared<Merges>(tokens, lines); }),
             py::arg("tokens"), py::arg("lines"))
        .def_property_readonly("malformed", &Merges::malformed, "The first line that is no merge, or None.")
        .def("make", &Merges::make, py::arg("id"), "Whether a merge makes this token.");

    py::class_<BPE>(m, "BPE",
                    "Byte-pair encoding of words. `bytes`: how the vocabulary spells each byte; text never becomes a "
                    "token of `control`.")
        .def(py::init([](std::shared_ptr<Tokens> tokens, std::shared_ptr<Merges> merges,
                         const std::vector<int32_t>& control, std::vector<std::string> bytes, bool pieces,
                         bool whole_words) {
                 return BPE(std::move(tokens), std::move(merges), control, std::move(bytes), {pieces, whole_words});
             }),
             py::arg("tokens").none(false), py::arg("merges").none(false), py::kw_only(), py::arg("control"),
             py::arg("bytes"), py::arg("pieces"), py::arg("whole_words"))
        .def("encode", &encode, py::arg("words"),
             "The ids of words: the first of each of the tuples. Bytes without a token are left out.");
}

}  // namespace pyruntime::bindings
