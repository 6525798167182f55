#include "tokenizer/tokens.h"

#include <algorithm>
#include <string>

#include "tokenizer/hash.h"

namespace pyruntime::tokenizer {

namespace {

std::shared_ptr<const gguf::Strings> without_empty(std::shared_ptr<const gguf::Strings> strings) {
    size_t n_empty = 0;
    for (size_t i = 0; i < strings->size(); i++) n_empty += (*strings)[i].empty();
    if (n_empty == 0) return strings;
    auto named = std::make_shared<gguf::Strings>();
    named->reserve(strings->size());
    for (size_t i = 0; i < strings->size(); i++) {
        const std::string_view token = (*strings)[i];
        if (token.empty())
            named->push_back("[EMPTY_" + std::to_string(i) + "]");
        else
            named->push_back(token);
    }
    return named;
}

}  // namespace

Tokens::Tokens(std::shared_ptr<const gguf::Strings> strings)
    : strings_(without_empty(std::move(strings))), slots_(slots_for(strings_->size()), -1) {
    size_t first = size();  // of the tokens that are there again
    for (size_t id = 0; id < size(); id++) {
        const std::string_view token = (*this)[id];
        size_t at = hash(token) & (slots_.size() - 1);
        while (slots_[at] >= 0 && (*this)[size_t(slots_[at])] != token) at = (at + 1) & (slots_.size() - 1);
        if (slots_[at] >= 0)
            first = std::min(first, size_t(slots_[at]));
        else
            slots_[at] = int32_t(id);
    }
    if (first == size()) return;
    size_t last = size() - 1;
    while ((*this)[last] != (*this)[first]) last--;
    duplicate_ = {first, last};
}

std::optional<int32_t> Tokens::find(std::string_view token) const {
    size_t at = hash(token) & (slots_.size() - 1);
    while (slots_[at] >= 0 && (*this)[size_t(slots_[at])] != token) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at] < 0) return std::nullopt;
    return slots_[at];
}

}  // namespace pyruntime::tokenizer
