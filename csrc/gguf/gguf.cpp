#include "gguf/gguf.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#include "gguf/header.h"
#include "gguf/os_file.h"
#include "gguf/text.h"

namespace pyruntime::gguf {

namespace {

// A scalar of any integer type that is not negative.
std::optional<uint64_t> as_unsigned(const Value& value) {
    return std::visit(
        [](const auto& v) -> std::optional<uint64_t> {
            using T = std::decay_t<decltype(v)>;
            if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
                if (v >= 0) return static_cast<uint64_t>(v);
            }
            return std::nullopt;
        },
        value);
}

// A number of the metadata and where its entry begins in the file, for messages.
struct Number {
    uint64_t value;
    uint64_t at;
};

// What a file says about the model that it is a part of.
struct Split {
    Number no;  // from 0, while the file names count from 1
    Number count;
    Number n_tensors;  // in all parts together
};

// Absent where the file is a whole model: gguf-split leaves a count of 0 when it merges.
std::optional<Split> split_of(const OsFile& file, const std::vector<Entry>& metadata) {
    const Entry* count = find_entry(metadata, "split.count");
    if (count == nullptr) return std::nullopt;
    const auto number = [&](const char* key) {
        const Entry* entry = find_entry(metadata, key);
        const std::string field = "key " + quoted(key);
        if (entry == nullptr) throw error_at(file.path(), field, count->at, "missing, though split.count is there");
        const std::optional<uint64_t> n = as_unsigned(entry->value);
        if (!n) throw error_at(file.path(), field, entry->at, "must be an integer, not negative");
        return Number{*n, entry->at};
    };
    const Number n_parts = number("split.count");
    if (n_parts.value < 2) return std::nullopt;
    return Split{number("split.no"), n_parts, number("split.tensors.count")};
}

std::string part_of(uint64_t no, uint64_t count) {
    return "part " + std::to_string(no + 1) + " of " + std::to_string(count);
}

// The end of the name of part `no`: -00001-of-00003.gguf for 0 of 3.
std::string part_suffix(uint64_t no, uint64_t count) {
    char suffix[64];
    std::snprintf(suffix, sizeof(suffix), "-%05llu-of-%05llu.gguf", static_cast<unsigned long long>(no + 1),
                  static_cast<unsigned long long>(count));
    return suffix;
}

// The path of part `no`, from that of the part that `split` describes; empty if that is not named as a part.
std::string part_path(const std::string& path, const Split& split, uint64_t no) {
    const std::string suffix = part_suffix(split.no.value, split.count.value);
    if (path.size() < suffix.size() || path.compare(path.size() - suffix.size(), suffix.size(), suffix) != 0) return "";
    return path.substr(0, path.size() - suffix.size()) + part_suffix(no, split.count.value);
}

}  // namespace

File::File(const std::string& path) {
    auto parts = std::make_shared<Parts>();
    add_part(*parts, OsFile(path));
    open_other_parts(*parts);
    index_tensors();
    parts_ = std::move(parts);
}

File::~File() = default;

void File::add_part(Parts& parts, OsFile file) {
    Header header = read_header(file, static_cast<uint32_t>(parts.size()));
    if (parts.empty()) {
        version_ = header.version;
        alignment_ = header.alignment;
        metadata_ = std::move(header.metadata);
    } else {
        const Split first = *split_of(parts.front(), metadata_);
        const std::optional<Split> split = split_of(file, header.metadata);
        if (!split || split->no.value != parts.size() || split->count.value != first.count.value ||
            split->n_tensors.value != first.n_tensors.value) {
            throw error_at(file.path(), "key \"split.no\"", split ? split->no.at : 0,
                           "its split.* keys do not make it " + part_of(parts.size(), first.count.value) +
                               " of the model that " + printable(path()) + " begins");
        }
    }
    std::move(header.tensors.begin(), header.tensors.end(), std::back_inserter(tensors_));
    paths_.push_back(file.path());
    file_bytes_ += file.size();
    parts.push_back(std::move(file));
}

void File::open_other_parts(Parts& parts) {
    const std::optional<Split> split = split_of(parts.front(), metadata_);
    if (!split) return;
    const auto refuse = [&](const char* key, const Number& number, const std::string& problem) {
        return error_at(path(), "key " + quoted(key), number.at, problem);
    };
    const uint64_t count = split->count.value;
    const std::string first = part_path(path(), *split, 0);
    const std::string which = "this is " + part_of(split->no.value, count);
    if (split->no.value >= count) throw refuse("split.no", split->no, which);
    if (split->no.value != 0)
        throw refuse("split.no", split->no,
                     which + "; open the first" + (first.empty() ? "" : ", " + printable(first)));
    if (first.empty()) {
        throw refuse("split.count", split->count,
                     which + ", and the others cannot be found, as its name does not end in " + part_suffix(0, count));
    }
    for (uint64_t no = 1; no < count; ++no) {
        std::optional<OsFile> file;
        try {
            file.emplace(part_path(path(), *split, no));
        } catch (const GGUFError& e) {
            throw refuse("split.count", split->count, part_of(no, count) + ": " + e.what());
        }
        add_part(parts, std::move(*file));
    }
    if (tensors_.size() != split->n_tensors.value) {
        throw refuse("split.tensors.count", split->n_tensors,
                     "says " + std::to_string(split->n_tensors.value) + ", but the parts hold " +
                         std::to_string(tensors_.size()) + " tensors");
    }
}

void File::index_tensors() {
    by_name_ = order_by(tensors_, &TensorInfo::name);
    if (const TensorInfo* t = find_duplicate(tensors_, &TensorInfo::name, by_name_))
        throw error_at(paths_[t->part], "tensor " + quoted(t->name), t->at, "the name occurs twice");
}

const TensorInfo* File::find(std::string_view name) const {
    const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                     [this](size_t i, std::string_view n) { return tensors_[i].name < n; });
    return it != by_name_.end() && tensors_[*it].name == name ? &tensors_[*it] : nullptr;
}

const TensorInfo& File::tensor(std::string_view name) const {
    const TensorInfo* t = find(name);
    if (t == nullptr) throw GGUFError(printable(path()) + ": there is no tensor " + quoted(name));
    return *t;
}

void File::read(const TensorInfo& t, uint64_t at, void* dst, size_t n) const {
    const std::shared_ptr<const Parts> parts = std::atomic_load(&parts_);
    if (!parts) throw GGUFError(printable(path()) + ": cannot read tensor " + quoted(t.name) + ": the file is closed");
    const OsFile& file = parts->at(t.part);
    const auto fail = [&](uint64_t byte, const char* problem) {
        return error_at(file.path(), "tensor " + quoted(t.name), byte, problem);
    };
    if (at > t.n_bytes || n > t.n_bytes - at) throw fail(t.offset, "a read past the end of its data was asked for");
    const size_t got = file.read_at(t.offset + at, dst, n);
    if (got < n) throw fail(t.offset + at + got, "the file ends here: it was truncated after it had been opened");
}

void File::close() { std::atomic_store(&parts_, std::shared_ptr<const Parts>()); }

}  // namespace pyruntime::gguf
