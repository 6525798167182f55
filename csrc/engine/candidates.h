// Candidates for the next token: their order, their integer weights, the first k of them (docs/numerics.md,
// "Sampling").
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace pyruntime {

constexpr double kWeightOne = 1ull << 40;  // the weight of the first candidate

// Integers in the order of the logits, -0 equal to +0 (adding +0 makes it +0). A positive NaN is above rank(+infinity),
// a negative one below rank(-infinity). As integers, because a maximum of floats is not vectorized without fast-math.
inline int32_t rank(float x) {
    x += 0.0f;
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

inline uint32_t unsigned_rank(float x) { return static_cast<uint32_t>(rank(x)) ^ 0x80000000u; }

// A candidate as one integer: larger is before, that is a larger logit or, at equal logits, a lower id.
inline int64_t pack_candidate(int32_t rank, size_t id) {
    return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(rank)) << 32 | (~id & 0xFFFFFFFF));
}
inline int32_t packed_id(int64_t candidate) { return static_cast<int32_t>(~static_cast<uint32_t>(candidate)); }
inline int32_t packed_rank(int64_t candidate) { return static_cast<int32_t>(candidate >> 32); }

// rint(e * 2^40), for 0 <= e <= 1: adding 2^52 rounds to an integer, which then stands in the low bits.
inline uint64_t weight(float e) {
    const double rounded = static_cast<double>(e) * kWeightOne + 0x1p52;
    uint64_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    return bits & ((uint64_t{1} << 52) - 1);
}

uint64_t total_weight(const float* e, size_t n);

// The index of the first candidate: the largest logit, at the lowest index that has it. Throws NumericsError if a logit
// is NaN or +infinity, or if all are -infinity.
size_t first_candidate(const float* x, size_t n);

// The sum of term(0) ... term(n - 1) in 16 lanes, lane i mod 16, and then the tree of docs/numerics.md.
template <class Term>
double lane_sum(size_t n, Term term) {
    double v[16] = {};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; ++l) v[l] += term(i + l);
    for (size_t l = 0; i + l < n; ++l) v[l] += term(i + l);
    for (size_t width = 8; width > 0; width /= 2)
        for (size_t l = 0; l < width; ++l) v[l] += v[l + width];
    return v[0];
}

// Finds the first k candidates; the room it needs is allocated once.
class TopK {
  public:
    TopK() = default;  // of none
    explicit TopK(size_t k);
    size_t k() const { return k_; }
    // The first k of those above -infinity (fewer if there are fewer), packed, in no order; returns how many.
    size_t select(const float* x, size_t n);
    std::vector<int64_t>& found() { return best_; }

  private:
    void keep_best(size_t n);

    size_t k_ = 0;
    std::vector<int64_t> best_;  // the best so far, with room for more than k
};

}  // namespace pyruntime
