#include "engine/weights.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <unordered_set>

#include "errors.h"
#include "formats/formats.h"
#include "formats/pack.h"
#include "gguf/text.h"

namespace pyruntime {

namespace {

constexpr size_t kShownChars = 100;              // of a tensor's name
constexpr size_t kChunkBytes = size_t(1) << 20;  // of the file, a read; large enough for the disk, small enough for L2

std::string describe(const gguf::File& file, const gguf::TensorInfo& t) {
    return gguf::printable(file.paths()[t.part]) + ": tensor " + gguf::printable(t.name, kShownChars) + " at offset " +
           std::to_string(t.offset);
}

size_t row_bytes(const gguf::TensorInfo& t) {
    const formats::TypeInfo* type = formats::find_type(t.type);
    return size_t(t.dims[0]) / type->n_block * type->n_bytes;
}

// 64 bits of n bytes: four chains of xor and multiply by an odd constant, 32 bytes a round (6 GB/s, of what reading
// takes a tenth), mixed at the end as in MurmurHash3's finalizer.
uint64_t hash_bytes(const uint8_t* p, size_t n, uint64_t seed) {
    constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;
    uint64_t lanes[4] = {seed, seed ^ kOdd, seed + kOdd, ~seed};
    for (; n >= 32; p += 32, n -= 32)
        for (int i = 0; i < 4; i++) {
            uint64_t word;
            std::memcpy(&word, p + 8 * i, 8);
            lanes[i] = (lanes[i] ^ word) * kOdd;
            lanes[i] ^= lanes[i] >> 29;
        }
    for (size_t i = 0; i < n; i++) lanes[i % 4] = (lanes[i % 4] ^ p[i]) * kOdd;
    uint64_t h = n;
    for (uint64_t lane : lanes) {
        h = (h ^ lane) * kOdd;
        h ^= h >> 32;
    }
    return h;
}

// The tensor of that name; UnsupportedError if its type or shape has no kernels.
const gguf::TensorInfo& loadable(const gguf::File& file, const std::string& name) {
    const gguf::TensorInfo& t = file.tensor(name);
    const formats::TypeInfo* type = formats::find_type(t.type);
    if (!type->supported)
        throw UnsupportedError(describe(file, t) + ": type " + type->name + " is not supported by this version");
    if (t.dims.size() > 3)
        throw UnsupportedError(describe(file, t) + ": " + std::to_string(t.dims.size()) +
                               " dimensions; at most three are supported by this version");
    return t;
}

using Names = std::vector<std::string>;
using NameSet = std::unordered_set<std::string>;

int64_t n_elements(const gguf::TensorInfo& t) {
    int64_t n = 1;
    for (const uint64_t d : t.dims) n *= int64_t(d);
    return n;
}

// A tensor of one dimension that is not flat is a matrix of one row.
int64_t rows_of(const gguf::TensorInfo& t) { return t.dims.size() > 1 ? int64_t(t.dims[1]) : 1; }
int64_t matrices_of(const gguf::TensorInfo& t) { return t.dims.size() > 2 ? int64_t(t.dims[2]) : 1; }

size_t loaded_bytes(const gguf::TensorInfo& t, bool flat) {
    if (flat) return size_t(round_up(n_elements(t) * 4, 64));
    return size_t(matrices_of(t)) * size_t(groups_of(rows_of(t))) * formats::group_bytes(t.type, size_t(t.dims[0]));
}

}  // namespace

size_t loaded_bytes(const gguf::File& file, const Names& names, const Names& flat) {
    const NameSet flat_names(flat.begin(), flat.end());
    size_t n = 0;
    for (const std::string& name : names) n += loaded_bytes(loadable(file, name), flat_names.count(name) != 0);
    return n;
}

void Weights::plan(const gguf::File& file, const std::string& name, bool flat) {
    if (has(name)) return;
    const gguf::TensorInfo& t = loadable(file, name);
    Place place{};
    place.info = &t;
    place.n_dims = flat ? 1 : std::max(2, int(t.dims.size()));
    place.count = flat ? 1 : matrices_of(t);
    place.offset = n_bytes_;
    place.view.type = place.is_vector() ? uint32_t(formats::F32) : t.type;
    place.view.rows = place.is_vector() ? 1 : rows_of(t);
    place.view.cols = place.is_vector() ? n_elements(t) : int64_t(t.dims[0]);
    place.description = describe(file, t);
    if (!place.is_vector()) place.view.group_bytes = formats::group_bytes(t.type, size_t(t.dims[0]));
    n_bytes_ += loaded_bytes(t, flat);
    places_.emplace(name, place);
}

void Weights::read_chunk(const gguf::File& file, const Place& place, int64_t first_group, int64_t last_group,
                         std::vector<uint8_t>& buffer) {
    const gguf::TensorInfo& t = *place.info;
    uint8_t* to = storage_.get() + place.offset;
    if (place.is_vector()) {
        buffer.resize(size_t(t.n_bytes));
        file.read(t, 0, buffer.data(), buffer.size());
        auto* values = reinterpret_cast<float*>(to);
        formats::dequantize(t.type, buffer.data(), size_t(place.view.cols), values);
        for (int64_t i = 0; i < place.view.cols; i++)
            if (!std::isfinite(values[i]))
                throw GGUFError(describe(file, t) + ": element " + std::to_string(i) + " is not finite");
        return;
    }
    const size_t row = row_bytes(t);
    const int64_t first_row = place.first_row(first_group);
    const int64_t last_row = place.first_row(last_group - 1) + place.rows_of(last_group - 1);
    buffer.resize(size_t(last_row - first_row) * row);
    file.read(t, uint64_t(first_row) * row, buffer.data(), buffer.size());
    for (int64_t g = first_group; g < last_group; g++) {
        const int64_t at = place.first_row(g);
        const formats::BadValue bad =
            formats::pack_group(t.type, buffer.data() + size_t(at - first_row) * row, int(place.rows_of(g)),
                                size_t(place.view.cols), to + size_t(g) * place.view.group_bytes);
        if (bad.row >= 0) {
            const formats::TypeInfo* type = formats::find_type(t.type);
            throw GGUFError(describe(file, t) + ": row " + std::to_string(at + bad.row) + ", block " +
                            std::to_string(bad.column / type->n_block) + ": a " + type->name +
                            (type->n_block > 1 ? " scale" : " value") + " is not finite; the file is damaged");
        }
    }
}

Weights::Weights(const gguf::File& file, const Names& names, const Names& flat, ThreadPool& threads, const Poll& poll,
                 const Progress& progress) {
    const NameSet flat_names(flat.begin(), flat.end());
    for (const std::string& name : names) plan(file, name, flat_names.count(name) != 0);
    storage_ = allocate(n_bytes_, "weights");

    struct Chunk {
        const Place* place;
        int64_t first, last;
    };
    std::vector<Chunk> chunks;
    size_t file_bytes = 0;
    for (const std::string& name : names) {
        const Place& p = places_.at(name);
        file_bytes += size_t(p.info->n_bytes);
        const int64_t groups = p.groups();
        const size_t group = p.is_vector() ? 1 : row_bytes(*p.info) * kLanes;
        const int64_t step = std::max<int64_t>(1, int64_t(kChunkBytes / std::max<size_t>(1, group)));
        for (int64_t g = 0; g < groups; g += step) chunks.push_back({&p, g, std::min(groups, g + step)});
    }

    std::atomic<size_t> next{0}, read{0};
    std::atomic<uint64_t> digest{0};
    std::atomic<bool> stop{false};
    std::mutex mutex;
    std::exception_ptr failure;
    threads.run([&](int thread) {
        std::vector<uint8_t> buffer;
        auto polled = std::chrono::steady_clock::now();
        try {
            for (size_t i; !stop && (i = next.fetch_add(1)) < chunks.size();) {
                const Chunk& c = chunks[i];
                read_chunk(file, *c.place, c.first, c.last, buffer);
                const std::string& name = c.place->info->name;
                const uint64_t seed = hash_bytes(reinterpret_cast<const uint8_t*>(name.data()), name.size(), c.first);
                digest.fetch_xor(hash_bytes(buffer.data(), buffer.size(), seed));
                read += buffer.size();
                if (const auto now = std::chrono::steady_clock::now(); thread == 0 && now - polled > kPollEvery) {
                    polled = now;
                    if (poll && poll()) throw Interrupted();
                    if (progress) progress(read, file_bytes);
                }
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            if (!failure) failure = std::current_exception();
            stop = true;
        }
    });
    if (failure) std::rethrow_exception(failure);
    digest_ = digest;
    for (auto& [name, place] : places_) {
        place.view.data = storage_.get() + place.offset;
        place.info = nullptr;  // the file may be closed now
    }
}

const Weights::Place& Weights::at(const std::string& name) const {
    const auto it = places_.find(name);
    if (it == places_.end()) throw Error("plan: no weight " + name + " was loaded");
    return it->second;
}

PackedView Weights::matrix(const std::string& name) const {
    const Place& p = at(name);
    if (p.n_dims != 2) throw Error("plan: weight " + name + " is not a matrix");
    return p.view;
}

StackView Weights::stack(const std::string& name) const {
    const Place& p = at(name);
    if (p.n_dims != 3) throw Error("plan: weight " + name + " is not a stack of matrices");
    return {p.view, p.count};
}

int64_t Weights::vector_size(const std::string& name) const {
    const Place& p = at(name);
    if (!p.is_vector()) throw Error("plan: weight " + name + " is not a vector");
    return p.view.cols;
}

const float* Weights::vector(const std::string& name, int64_t n) const {
    if (vector_size(name) != n) throw Error("plan: weight " + name + " is not a vector of " + std::to_string(n));
    return reinterpret_cast<const float*>(at(name).view.data);
}

std::string Weights::source(const std::string& name) const { return at(name).description; }

}  // namespace pyruntime
