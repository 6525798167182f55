#include "tokenizer/bpe.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "errors.h"
#include "tokenizer/hash.h"

namespace pyruntime::tokenizer {

namespace {

constexpr uint32_t kFree = UINT32_MAX;

uint64_t hash_of_pair(int32_t left, int32_t right) {
    const int32_t pair[2] = {left, right};
    char bytes[sizeof pair];
    std::memcpy(bytes, pair, sizeof pair);
    return hash({bytes, sizeof bytes});
}

// Bytes of the character that begins with this one, in valid UTF-8.
size_t length_of(char lead) {
    const auto byte = uint8_t(lead);
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// For the heap of <algorithm>, which has the largest on top: that with the lowest rank, and of these the leftmost.
bool comes_later(const BPE::Candidate& a, const BPE::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

}  // namespace

Merges::Merges(const Tokens& tokens, const gguf::Strings& lines) {
    merges_.reserve(lines.size());
    std::string joined;
    for (size_t i = 0; i < lines.size(); i++) {
        const std::string_view line = lines[i];
        const size_t space = line.find(' ');
        const std::string_view left = line.substr(0, space);
        const std::string_view right = space == line.npos ? std::string_view() : line.substr(space + 1);
        joined.assign(left).append(right);
        const auto a = tokens.find(left), b = tokens.find(right), made = tokens.find(joined);
        if (!a || !b || !made) {
            malformed_ = i;
            return;
        }
        merges_.push_back({*a, *b, *made});
    }
}

bool Merges::make(int32_t id) const {
    return std::any_of(merges_.begin(), merges_.end(), [&](const Merge& merge) { return merge.made == id; });
}

BPE::BPE(std::shared_ptr<const Tokens> tokens, std::shared_ptr<const Merges> merges,
         const std::vector<int32_t>& control, std::vector<std::string> bytes, BPEOptions options)
    : tokens_(std::move(tokens)),
      is_control_(tokens_->size()),
      bytes_(std::move(bytes)),
      options_(options),
      merges_(std::move(merges)),
      slots_(slots_for(merges_->all().size()), kFree) {
    if (bytes_.size() != 256) throw Error("BPE: " + std::to_string(bytes_.size()) + " spellings of 256 bytes");
    for (const int32_t id : control) is_control_.at(size_t(id)) = true;
    for (const std::string& byte : bytes_) byte_ids_.push_back(find(byte).value_or(-1));
    const auto is_control = [&](int32_t id) { return is_control_[size_t(id)]; };
    for (size_t rank = 0; rank < merges_->all().size(); rank++) {
        const Merge& merge = merges_->all()[rank];
        if (is_control(merge.left) || is_control(merge.right) || is_control(merge.made)) continue;
        if (rank_of(merge.left, merge.right)) continue;  // of a merge given twice, the first rank counts
        size_t at = hash_of_pair(merge.left, merge.right) & (slots_.size() - 1);
        while (slots_[at] != kFree) at = (at + 1) & (slots_.size() - 1);
        slots_[at] = uint32_t(rank);
    }
}

std::optional<int32_t> BPE::find(std::string_view token) const {
    const std::optional<int32_t> id = tokens_->find(token);
    return id && !is_control_[size_t(*id)] ? id : std::nullopt;
}

const uint32_t* BPE::rank_of(int32_t left, int32_t right) const {
    size_t at = hash_of_pair(left, right) & (slots_.size() - 1);
    for (; slots_[at] != kFree; at = (at + 1) & (slots_.size() - 1)) {
        const Merge& merge = merges_->all()[slots_[at]];
        if (merge.left == left && merge.right == right) return &slots_[at];
    }
    return nullptr;
}

std::optional<int32_t> BPE::whole(std::string_view word) const {
    if (options_.pieces) return find(word);
    std::string spelled;
    for (const char byte : word) spelled += bytes_[uint8_t(byte)];
    return find(spelled);
}

void BPE::split(std::string_view word, std::vector<Symbol>& symbols) const {
    symbols.clear();
    const auto add = [&](int32_t id) {
        const auto at = int32_t(symbols.size());
        symbols.push_back({id, at - 1, at + 1, false});
    };
    while (!word.empty()) {
        const size_t n = options_.pieces ? std::min(length_of(word[0]), word.size()) : 1;
        const std::optional<int32_t> id = options_.pieces ? find(word.substr(0, n)) : std::nullopt;
        if (id)
            add(*id);
        else
            for (size_t i = 0; i < n; i++) add(byte_ids_[uint8_t(word[i])]);
        word.remove_prefix(n);
    }
    if (!symbols.empty()) symbols.back().next = -1;
}

void BPE::propose(int32_t at, Scratch& scratch) const {
    const Symbol& left = scratch.symbols[size_t(at)];
    const uint32_t* rank = rank_of(left.id, scratch.symbols[size_t(left.next)].id);
    if (!rank) return;
    scratch.heap.push_back({*rank, at});
    std::push_heap(scratch.heap.begin(), scratch.heap.end(), comes_later);
}

void BPE::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const {
    if (word.size() > size_t(std::numeric_limits<int32_t>::max()))
        throw UnsupportedError("a word of " + std::to_string(word.size()) + " bytes is longer than 2^31");
    if (options_.whole_words) {
        if (const std::optional<int32_t> id = whole(word)) {
            ids.push_back(*id);
            return;
        }
    }
    std::vector<Symbol>& symbols = scratch.symbols;
    std::vector<Candidate>& heap = scratch.heap;
    split(word, symbols);
    heap.clear();
    for (size_t i = 0; i + 1 < symbols.size(); i++) propose(int32_t(i), scratch);
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), comes_later);
        const Candidate best = heap.back();
        heap.pop_back();
        Symbol& left = symbols[size_t(best.at)];
        if (left.merged || left.next < 0) continue;
        Symbol& right = symbols[size_t(left.next)];
        const uint32_t* rank = rank_of(left.id, right.id);
        if (!rank || *rank != best.rank) continue;  // one of the two has grown since
        left.id = merges_->all()[best.rank].made;
        left.next = right.next;
        right.merged = true;
        if (left.next >= 0) {
            symbols[size_t(left.next)].previous = best.at;
            propose(best.at, scratch);
        }
        if (left.previous >= 0) propose(left.previous, scratch);
    }
    for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[size_t(at)].next)
        if (symbols[size_t(at)].id >= 0) ids.push_back(symbols[size_t(at)].id);
}

}  // namespace pyruntime::tokenizer
