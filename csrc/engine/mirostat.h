// Mirostat (Basu et al. 2021, arXiv:2007.14966): keeps the surprise of the tokens near tau bits, by a feedback on how
// many candidates are left. Version 1 estimates Zipf's exponent from the first 100; version 2 bounds the surprise
// itself.
#pragma once
#include <cstddef>
#include <cstdint>

namespace pyruntime {

class Mirostat {
  public:
    Mirostat(double tau, double eta) : tau_(tau), eta_(eta), mu_(2 * tau) {}

    // Version 1: how many of n candidates to keep, 1 to n. d: falling log probabilities of the first n_first, in nats
    // and up to a constant.
    size_t keep(const double* d, size_t n_first, size_t n) const;
    // Version 2: the weight that a candidate other than the first must have, of a total.
    double least_weight(uint64_t total) const;

    // A token was drawn with this weight, of a total of the candidates that were left.
    void drew(int32_t id, uint64_t weight, uint64_t total);
    // A token joined the sequence: mu moves if it is the one drawn last.
    void accept(int32_t id);
    void reset();

  private:
    double tau_, eta_, mu_;
    int32_t drawn_ = -1;  // and not yet accepted
    double next_mu_ = 0;  // once it is
};

}  // namespace pyruntime
