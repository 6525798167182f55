// Byte-pair encoding (Sennrich et al., https://arxiv.org/abs/1508.07909) of words that a splitting rule has found: the
// two neighbours whose merge comes first in the file become one token, the leftmost of several, until none are left.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/strings.h"
#include "tokenizer/tokens.h"

namespace pyruntime::tokenizer {

struct Merge {
    int32_t left, right, made;
};

// The merges of a file, in the order of their ranks: each line is two tokens with a space between, and makes a third.
class Merges {
  public:
    Merges(const Tokens& tokens, const gguf::Strings& lines);

    // The first line that is none; those from it on are not read.
    std::optional<size_t> malformed() const { return malformed_; }
    bool make(int32_t id) const;  // whether one of them does
    const std::vector<Merge>& all() const { return merges_; }

  private:
    std::vector<Merge> merges_;
    std::optional<size_t> malformed_;
};

struct BPEOptions {
    bool pieces;       // words are of characters, and those without a token become bytes; else words are bytes
    bool whole_words;  // a word that is a token is taken whole, whatever the merges say
};

class BPE {
  public:
    // `bytes`: how the vocabulary spells each byte. Tokens of `control` are neither made nor used, so that text never
    // becomes one.
    BPE(std::shared_ptr<const Tokens> tokens, std::shared_ptr<const Merges> merges, const std::vector<int32_t>& control,
        std::vector<std::string> bytes, BPEOptions options);

    // A part of a word, among its neighbours.
    struct Symbol {
        int32_t id, previous, next;  // -1: a byte without a token; there is none before, after
        bool merged;                 // into the one before it
    };
    struct Candidate {
        uint32_t rank;
        int32_t at;  // the symbol on the left
    };
    struct Scratch {  // kept from word to word
        std::vector<Symbol> symbols;
        std::vector<Candidate> heap;
    };

    // Appends the ids of a word in UTF-8, in time n log n; bytes for which there is no token are left out.
    void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

  private:
    std::optional<int32_t> find(std::string_view token) const;
    std::optional<int32_t> whole(std::string_view word) const;
    void split(std::string_view word, std::vector<Symbol>& symbols) const;
    void propose(int32_t at, Scratch& scratch) const;
    const uint32_t* rank_of(int32_t left, int32_t right) const;

    std::shared_ptr<const Tokens> tokens_;
    std::vector<bool> is_control_;
    std::vector<std::string> bytes_;
    std::vector<int32_t> byte_ids_;  // -1: no token
    BPEOptions options_;
    std::shared_ptr<const Merges> merges_;
    std::vector<uint32_t> slots_;  // ranks, by a hash of the pair
};

}  // namespace pyruntime::tokenizer
