// Many strings, one after the other in one block: the 303,000 of a vocabulary with its merges take 6 MB so, and 25 MB
// as Python's.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pyruntime::gguf {

class Strings {
  public:
    size_t size() const { return ends_.size(); }
    std::string_view operator[](size_t i) const {
        const size_t first = i == 0 ? 0 : ends_[i - 1];
        return std::string_view(bytes_).substr(first, ends_[i] - first);
    }
    void reserve(size_t n) { ends_.reserve(n); }
    void push_back(std::string_view s) {
        bytes_.append(s);
        ends_.push_back(bytes_.size());
    }
    void shrink_to_fit() { bytes_.shrink_to_fit(); }  // no more are to come

  private:
    std::string bytes_;
    std::vector<size_t> ends_;  // in bytes_, of each string
};

}  // namespace pyruntime::gguf
