// The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3 (the same bytes where they
// are little-endian). Stricter than the format where leniency would have to be carried through the whole runtime: no
// nested arrays, no empty or doubled names, no tensor without elements or with shared bytes, strings in valid UTF-8.
#include "gguf/header.h"

#include <cstring>
#include <limits>
#include <optional>

#include "formats/types.h"
#include "gguf/cursor.h"
#include "gguf/text.h"

namespace pyruntime::gguf {

namespace {

constexpr uint64_t kMaxNameBytes = 65535;                    // of a key, by the format; of a tensor name, by us
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;           // key of one byte, type, value of one byte
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // name of one byte, one dimension, type, offset
constexpr uint64_t kMaxEntries = uint64_t{1} << 16;          // the most seen are below 100
constexpr uint64_t kMaxTensors = uint64_t{1} << 18;          // of a part; the most seen are below 10,000
constexpr uint32_t kMaxDims = 4;
constexpr uint32_t kMinAlignment = 8;
constexpr uint32_t kArray = 9;

std::optional<uint64_t> multiply(uint64_t a, uint64_t b) {
    if (b != 0 && a > std::numeric_limits<uint64_t>::max() / b) return std::nullopt;
    return a * b;
}

template <typename T>
struct Tag {
    using type = T;
};

// Calls f with the Tag of the C++ type that a GGUF value type is read as; false if there is no such scalar type.
template <typename F>
bool with_scalar_type(uint32_t id, F f) {
    // clang-format off
    switch (id) {
        case 0: f(Tag<uint8_t>{}); return true;
        case 1: f(Tag<int8_t>{}); return true;
        case 2: f(Tag<uint16_t>{}); return true;
        case 3: f(Tag<int16_t>{}); return true;
        case 4: f(Tag<uint32_t>{}); return true;
        case 5: f(Tag<int32_t>{}); return true;
        case 6: f(Tag<float>{}); return true;
        case 7: f(Tag<bool>{}); return true;
        case 8: f(Tag<std::string>{}); return true;
        case 10: f(Tag<uint64_t>{}); return true;
        case 11: f(Tag<int64_t>{}); return true;
        case 12: f(Tag<double>{}); return true;
        default: return false;
    }
    // clang-format on
}

template <typename T>
T take_scalar(Cursor& cursor) {
    if constexpr (std::is_same_v<T, std::string>) {
        return cursor.take_string();
    } else if constexpr (std::is_same_v<T, bool>) {
        const uint64_t at = cursor.at();
        const uint8_t byte = cursor.take<uint8_t>();
        if (byte > 1) cursor.fail(at, "a bool is 0 or 1, not " + std::to_string(byte));
        return byte == 1;
    } else {
        return cursor.take<T>();
    }
}

Strings take_strings(Cursor& cursor) {
    const uint64_t n = cursor.take_string_count();
    Strings strings;
    strings.reserve(static_cast<size_t>(n));
    for (uint64_t i = 0; i < n; ++i) strings.push_back(cursor.take_string());
    strings.shrink_to_fit();
    return strings;
}

template <typename T>
std::vector<T> take_array(Cursor& cursor) {
    const uint64_t n = cursor.take_count(sizeof(T), "array elements");
    std::vector<T> values;
    if constexpr (std::is_same_v<T, bool>) {
        values.reserve(static_cast<size_t>(n));
        for (uint64_t i = 0; i < n; ++i) values.push_back(take_scalar<T>(cursor));
    } else {
        values.resize(static_cast<size_t>(n));
        if (n > 0) cursor.take_bytes(values.data(), n * sizeof(T));  // the data() of an empty vector may be null
    }
    return values;
}

Value take_value(Cursor& cursor) {
    Value value;
    uint64_t at = cursor.at();
    uint32_t type = cursor.take<uint32_t>();
    const bool is_array = type == kArray;
    if (is_array) {
        at = cursor.at();
        type = cursor.take<uint32_t>();
        if (type == kArray) cursor.fail(at, "an array of arrays is not supported");
    }
    const bool known = with_scalar_type(type, [&](auto tag) {
        using T = typename decltype(tag)::type;
        if (!is_array)
            value.emplace<T>(take_scalar<T>(cursor));
        else if constexpr (std::is_same_v<T, std::string>)
            value.emplace<Strings>(take_strings(cursor));
        else
            value.emplace<std::vector<T>>(take_array<T>(cursor));
    });
    if (!known) cursor.fail(at, "GGUF has no value type " + std::to_string(type));
    return value;
}

std::string take_name(Cursor& cursor, const char* what) {
    const uint64_t at = cursor.at();
    std::string name = cursor.take_string(kMaxNameBytes);
    if (name.empty()) cursor.fail(at, std::string(what) + " is empty");
    return name;
}

Entry take_entry(Cursor& cursor) {
    Entry entry;
    entry.at = cursor.at();
    entry.key = take_name(cursor, "the key");
    cursor.enter("key " + quoted(entry.key));
    entry.value = take_value(cursor);
    return entry;
}

// Bytes of the data. Both the elements and the bytes must be countable, as both are computed with later.
uint64_t data_bytes(const Cursor& cursor, const TensorInfo& t, const formats::TypeInfo& type, uint64_t dims_at) {
    const uint64_t row = t.dims[0];
    if (row % type.n_block != 0) {
        cursor.fail(dims_at, "a row of " + std::to_string(row) + " elements is not a whole number of " + type.name +
                                 " blocks of " + std::to_string(type.n_block));
    }
    std::optional<uint64_t> n_elements = 1;
    std::optional<uint64_t> n_bytes = multiply(row / type.n_block, type.n_bytes);
    for (size_t i = 0; i < t.dims.size(); ++i) {
        if (n_elements) n_elements = multiply(*n_elements, t.dims[i]);
        if (i > 0 && n_bytes) n_bytes = multiply(*n_bytes, t.dims[i]);
    }
    if (!n_elements || !n_bytes) cursor.fail(dims_at, "the product of the dimensions overflows 64 bits");
    return *n_bytes;
}

TensorInfo take_tensor(Cursor& cursor, uint32_t part) {
    TensorInfo t;
    t.part = part;
    t.at = cursor.at();
    t.name = take_name(cursor, "the tensor name");
    cursor.enter("tensor " + quoted(t.name));

    const uint64_t n_dims_at = cursor.at();
    const uint32_t n_dims = cursor.take<uint32_t>();
    if (n_dims < 1 || n_dims > kMaxDims)
        cursor.fail(n_dims_at, std::to_string(n_dims) + " dimensions, where 1 to 4 may be");
    const uint64_t dims_at = cursor.at();
    for (uint32_t i = 0; i < n_dims; ++i) {
        const uint64_t at = cursor.at();
        t.dims.push_back(cursor.take<uint64_t>());
        if (t.dims.back() == 0) cursor.fail(at, "dimension " + std::to_string(i) + " is 0");
    }

    const uint64_t type_at = cursor.at();
    t.type = cursor.take<uint32_t>();
    const formats::TypeInfo* type = formats::find_type(t.type);
    if (type == nullptr)
        cursor.fail(type_at, "tensor type " + std::to_string(t.type) + " is none that this version knows");
    t.n_bytes = data_bytes(cursor, t, *type, dims_at);
    t.offset = cursor.take<uint64_t>();  // from the start of the data section, until place_tensors
    return t;
}

uint32_t take_version(Cursor& cursor) {
    cursor.enter("magic");
    char magic[4];
    cursor.take_bytes(magic, sizeof(magic));
    if (std::memcmp(magic, "vers", 4) == 0)
        cursor.fail(0, "a Git LFS pointer, not the model itself; fetch it with git lfs pull");
    if (std::memcmp(magic, "GGUF", 4) != 0)
        cursor.fail(0, "not a GGUF file: it starts with " + quoted({magic, sizeof(magic)}) + ", not \"GGUF\"");

    cursor.enter("version");
    const uint64_t at = cursor.at();
    const uint32_t version = cursor.take<uint32_t>();
    if (version != 0 && (version & 0xFFFF) == 0)
        cursor.fail(at, "a big-endian file; make a little-endian one of it with gguf-convert-endian");
    if (version != 2 && version != 3) {
        cursor.fail(at, "GGUF version " + std::to_string(version) + " is not supported, only 2 and 3" +
                            (version == 1 ? "; convert the model again from its source" : ""));
    }
    return version;
}

void check_keys(const OsFile& file, const Header& header) {
    if (const Entry* e = find_duplicate(header.metadata, &Entry::key, order_by(header.metadata, &Entry::key)))
        throw error_at(file.path(), "key " + quoted(e->key), e->at, "the key occurs twice");
}

uint32_t alignment_of(const OsFile& file, const Header& header) {
    const Entry* entry = find_entry(header.metadata, "general.alignment");
    if (entry == nullptr) return header.alignment;
    const uint32_t* alignment = std::get_if<uint32_t>(&entry->value);
    const bool power_of_two = alignment != nullptr && (*alignment & (*alignment - 1)) == 0;
    if (!power_of_two || *alignment < kMinAlignment)
        throw error_at(file.path(), "key \"general.alignment\"", entry->at, "must be a uint32 power of two from 8 on");
    return *alignment;
}

// Makes the offsets absolute, after checking that the data lies in the file. `table_end` is where the table ends.
void place_tensors(const OsFile& file, Header& header, uint64_t table_end) {
    const uint64_t alignment = header.alignment;
    const uint64_t data = (table_end + alignment - 1) / alignment * alignment;  // both small: no overflow
    for (TensorInfo& t : header.tensors) {
        const uint64_t at = t.at + 8 + t.name.size() + 4 + 8 * t.dims.size() + 4;  // of the offset in the table
        const auto refuse = [&](const std::string& problem) {
            return error_at(file.path(), "tensor " + quoted(t.name), at, problem);
        };
        if (t.offset % alignment != 0) {
            throw refuse("offset " + std::to_string(t.offset) + " is not a multiple of the alignment, " +
                         std::to_string(alignment));
        }
        const uint64_t room = file.size() > data ? file.size() - data : 0;
        if (t.offset > room || t.n_bytes > room - t.offset) {
            throw refuse(std::to_string(t.n_bytes) + " bytes of data at offset " + std::to_string(t.offset) +
                         " do not fit in the " + std::to_string(room) +
                         " bytes of the data section; the file may have been cut short: download it again");
        }
        t.offset += data;
    }
}

void check_overlap(const OsFile& file, const Header& header) {
    std::vector<const TensorInfo*> order;
    order.reserve(header.tensors.size());
    for (const TensorInfo& t : header.tensors) order.push_back(&t);
    std::stable_sort(order.begin(), order.end(),
                     [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i) {
        const TensorInfo& before = *order[i - 1];
        const TensorInfo& t = *order[i];
        if (t.offset - before.offset < before.n_bytes) {
            throw error_at(file.path(), "tensor " + quoted(t.name), t.at,
                           "its data overlaps that of tensor " + quoted(before.name));
        }
    }
}

}  // namespace

const Entry* find_entry(const std::vector<Entry>& metadata, std::string_view key) {
    for (const Entry& entry : metadata)
        if (entry.key == key) return &entry;
    return nullptr;
}

Header read_header(const OsFile& file, uint32_t part) {
    Cursor cursor(file);
    Header header;
    header.version = take_version(cursor);
    cursor.enter("tensor_count");
    const uint64_t n_tensors = cursor.take_count(kMinTensorBytes, "tensors", kMaxTensors);
    cursor.enter("metadata_kv_count");
    const uint64_t n_entries = cursor.take_count(kMinEntryBytes, "metadata entries", kMaxEntries);

    for (uint64_t i = 0; i < n_entries; ++i) {
        cursor.enter("key " + std::to_string(i) + " of " + std::to_string(n_entries));
        header.metadata.push_back(take_entry(cursor));
    }
    check_keys(file, header);
    header.alignment = alignment_of(file, header);

    for (uint64_t i = 0; i < n_tensors; ++i) {
        cursor.enter("tensor " + std::to_string(i) + " of " + std::to_string(n_tensors));
        header.tensors.push_back(take_tensor(cursor, part));
    }
    place_tensors(file, header, cursor.at());
    check_overlap(file, header);
    return header;
}

}  // namespace pyruntime::gguf
