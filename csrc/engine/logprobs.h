// Log probabilities of the model itself: of the logits as they are, before bias, penalties and temperature.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/candidates.h"

namespace pyruntime {

struct KernelTable;

class Logprobs {
  public:
    using Entry = std::pair<int32_t, double>;  // (id, natural logarithm of its probability)

    explicit Logprobs(size_t n_top) : best_(n_top) {}
    // logits: (n_vocab), none of them NaN or +infinity and not all -infinity; id: the token that was chosen.
    void compute(const KernelTable& kernels, const float* logits, size_t n_vocab, int32_t id);
    const Entry& chosen() const { return chosen_; }
    const std::vector<Entry>& top() const { return top_; }  // in candidate order; -infinity is no candidate

  private:
    TopK best_;
    Entry chosen_{-1, 0.0};
    std::vector<Entry> top_;
};

}  // namespace pyruntime
