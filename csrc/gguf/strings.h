// Many strings, one after the other in one block: the 303,000 of a vocabulary with its merges take 6 MB so, and 25 MB
// as Python's.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pyruntime::gguf {

class Strings {
  public:
    size_t size() const { return ends_.size(); }
    std::string_view operator[](size_t i) const {
        const uint32_t first = i == 0 ? 0 : ends_[i - 1];
        return std::string_view(bytes_).substr(first, ends_[i] - first);
    }
    void reserve(size_t n) { ends_.reserve(n); }
    void push_back(std::string_view s) {
        if (s.size() > UINT32_MAX - bytes_.size()) throw std::length_error("Strings hold at most 4 GiB");
        bytes_.append(s);
        ends_.push_back(static_cast<uint32_t>(bytes_.size()));
    }
    void shrink_to_fit() { bytes_.shrink_to_fit(); }  // no more are to come

  private:
    std::string bytes_;
    std::vector<uint32_t> ends_;  // in bytes_, of each string
};

}  // namespace pyruntime::gguf
