// What a sampler remembers of its sequence, and how that lowers logits: counts of ids, and DRY's repeated sequences.
#pragma once
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/sampling_params.h"

namespace pyruntime {

// How often each id occurs among the last `last_n` ids (-1: among all), in O(1) a token.
class History {
  public:
    History() = default;  // of no ids
    History(int32_t n_vocab, int32_t last_n);
    void push(int32_t id);
    void clear();
    const std::vector<int32_t>& distinct() const { return distinct_; }
    uint32_t count(int32_t id) const { return counts_[static_cast<size_t>(id)]; }

  private:
    void remove(int32_t id);

    int32_t last_n_ = 0;
    std::vector<int32_t> ring_;  // (last_n), the oldest at next_ once it is full
    size_t next_ = 0;
    std::vector<uint32_t> counts_;   // (n_vocab)
    std::vector<uint32_t> slot_;     // (n_vocab), where in distinct_ an id of count > 0 stands
    std::vector<int32_t> distinct_;  // the ids of count > 0, in no order
};

// DRY ("don't repeat yourself", by p-e-w): a token that would prolong a repetition of the text's end loses
// multiplier * base^(length - allowed_length). Linear in the ids looked at: 8,192 take about 20 us a token.
class Dry {
  public:
    Dry() = default;  // off
    Dry(const SamplingParams& params, int32_t n_vocab);
    void push(int32_t id);
    void clear();
    void penalize(float* logits);  // (n_vocab)

  private:
    bool ends_breaker() const;
    float penalty(size_t length);

    bool on_ = false;
    size_t allowed_ = 0, last_n_ = 0;
    double base_ = 1;
    std::vector<int32_t> ids_;    // the whole sequence
    size_t broken_ = 0;           // ids up to the end of the last breaker
    std::vector<bool> is_break_;  // (n_vocab), ids that are a breaker alone
    std::unordered_map<int32_t, std::vector<std::vector<int32_t>>> breakers_;  // the longer ones, by their last id
    std::vector<uint32_t> match_;    // of the ids looked at, backwards: how far the end of the text is repeated there
    std::vector<uint32_t> longest_;  // (n_vocab), of what the token would prolong
    std::vector<int32_t> repeated_;  // the ids of longest > 0
    std::vector<double> powers_;     // multiplier * base^i, as far as it was needed
};

}  // namespace pyruntime
