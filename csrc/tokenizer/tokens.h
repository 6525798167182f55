// The tokens of a vocabulary, by id and by spelling.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/strings.h"

namespace pyruntime::tokenizer {

class Tokens {
  public:
    // At most 2^31 - 1 strings; an empty one is replaced by [EMPTY_<id>], as llama.cpp names the padding of some files.
    explicit Tokens(std::shared_ptr<const gguf::Strings> strings);

    size_t size() const { return strings_->size(); }
    std::string_view operator[](size_t id) const { return (*strings_)[id]; }
    std::optional<int32_t> find(std::string_view token) const;

    // The first token that is there again, and where it is for the last time: such a vocabulary is no vocabulary.
    std::optional<std::pair<size_t, size_t>> duplicate() const { return duplicate_; }

  private:
    std::shared_ptr<const gguf::Strings> strings_;
    std::vector<int32_t> slots_;  // ids, by hash; -1 is free
    std::optional<std::pair<size_t, size_t>> duplicate_;
};

}  // namespace pyruntime::tokenizer
