#include "gguf_file.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "engine/weights.h"
#include "formats/formats.h"
#include "fuzz.h"
#include "gguf/gguf.h"
#include "gguf/text.h"

namespace fuzz {

namespace {

using namespace pyruntime;

constexpr size_t kMaxLoaded = size_t(64) << 20;  // a thin matrix takes 16 times its bytes in the file

void check_message(const Error& error) {
    const std::string message = error.what();
    require(gguf::printable(message) == message, "a message is one line of harmless text");
    require(message.size() < 2000, "a message is short");
}

// Whether the header was good: what is wrong lies in an entry or a tensor.
bool names_an_item(const std::string& message) {
    return message.find(": key ") != std::string::npos || message.find(": tensor ") != std::string::npos;
}

void read_tensor(const gguf::File& file, const gguf::TensorInfo& t) {
    const formats::TypeInfo* type = formats::find_type(t.type);
    uint64_t n_elements = 1;
    for (const uint64_t d : t.dims) n_elements *= d;
    require(n_elements / type->n_block * type->n_bytes == t.n_bytes, "a tensor has as many bytes as its shape says");
    require(t.offset + t.n_bytes <= file.file_bytes(), "a tensor lies in its file");
    require(file.find(t.name) == &t, "a tensor is found by its name");

    std::vector<uint8_t> bytes(t.n_bytes);
    file.read(t, 0, bytes.data(), bytes.size());
    uint8_t one;
    file.read(t, t.n_bytes - 1, &one, 1);
    require(one == bytes.back(), "a part of a tensor is what the whole has there");
    for (const uint64_t at : {t.n_bytes, t.n_bytes + 1, ~uint64_t(0)}) try {
            file.read(t, at, &one, 1);
            require(false, "a read past the end is refused");
        } catch (const GGUFError& e) {
            check_message(e);
        }
    if (!type->supported) return;
    std::vector<float> values(n_elements);
    formats::dequantize(t.type, bytes.data(), values.size(), values.data());
}

// As a model does, of which this is all there is.
void load(const gguf::File& file) {
    static ThreadPool threads(1);
    std::vector<std::string> names;
    for (const gguf::TensorInfo& t : file.tensors()) names.push_back(t.name);
    const std::vector<std::string> flat(names.begin(), names.begin() + long(names.size() / 2));
    const size_t needed = loaded_bytes(file, names, flat);
    if (needed > kMaxLoaded) return;
    const Weights weights(file, names, flat, threads, nullptr);
    require(weights.n_bytes() == needed, "loading takes what was planned");
}

}  // namespace

void use_file(const std::string& path) {
    reached.inputs++;
    bool opened = false;
    try {
        gguf::File file(path);
        opened = true;
        reached.inside++;
        std::set<std::string> keys;
        for (const gguf::Entry& entry : file.metadata()) keys.insert(entry.key);
        require(keys.size() == file.metadata().size(), "no key occurs twice");
        for (const gguf::TensorInfo& t : file.tensors()) read_tensor(file, t);
        load(file);
        file.close();
        if (!file.tensors().empty()) {
            uint8_t one;
            file.read(file.tensors()[0], 0, &one, 1);
            require(false, "a closed file cannot be read");
        }
    } catch (const GGUFError& e) {
        reached.inside += !opened && names_an_item(e.what());
        check_message(e);
    } catch (const UnsupportedError& e) {
        check_message(e);
    }
}

}  // namespace fuzz
