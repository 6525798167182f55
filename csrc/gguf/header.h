// The header of one file, as values that have been checked.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "gguf/os_file.h"

namespace pyruntime::gguf {

struct Header {
    uint32_t version = 0;
    uint32_t alignment = 32;
    std::vector<Entry> metadata;
    std::vector<TensorInfo> tensors;  // names may still repeat: they are unique over all parts, which File checks
};

// `part` is the index that the tensors get.
Header read_header(const OsFile& file, uint32_t part);

// nullptr if absent
const Entry* find_entry(const std::vector<Entry>& metadata, std::string_view key);

// Indices of `items` in the order of their names; of equal names the earlier item comes first. Sorted, not hashed:
// names chosen to collide would make a hash table quadratic.
template <typename T>
std::vector<size_t> order_by(const std::vector<T>& items, std::string T::* name) {
    std::vector<size_t> order(items.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return items[a].*name < items[b].*name; });
    return order;
}

// The later of two items of the same name, or nullptr.
template <typename T>
const T* find_duplicate(const std::vector<T>& items, std::string T::* name, const std::vector<size_t>& order) {
    for (size_t i = 1; i < order.size(); ++i)
        if (items[order[i - 1]].*name == items[order[i]].*name) return &items[order[i]];
    return nullptr;
}

}  // namespace pyruntime::gguf
