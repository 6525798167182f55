#include "engine/sampler.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

#include "dispatch/fp_env.h"
#include "dispatch/isa.h"
#include "engine/philox.h"
#include "errors.h"

namespace pyruntime {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kDigitBits = 11;  // three digits make a 32-bit rank; 2048 sums are 16 KiB, half of a small L1 cache
constexpr size_t kBuckets = size_t{1} << kDigitBits;

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
inline int64_t pack(int32_t rank, size_t id) {
    return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(rank)) << 32 | (~id & 0xFFFFFFFF));
}
inline int32_t packed_id(int64_t candidate) { return static_cast<int32_t>(~static_cast<uint32_t>(candidate)); }
inline int32_t packed_rank(int64_t candidate) { return static_cast<int32_t>(candidate >> 32); }

// rint(e * 2^40), for 0 <= e <= 1: adding 2^52 rounds to an integer, which then stands in the low bits.
inline uint64_t weight(float e) {
    const double rounded = static_cast<double>(e) * Sampler::kWeightOne + 0x1p52;
    uint64_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    return bits & ((uint64_t{1} << 52) - 1);
}

uint64_t total_weight(const float* e, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; ++i) sum += weight(e[i]);
    return sum;
}

[[noreturn]] void throw_not_finite(const float* x, size_t n) {
    for (size_t id = 0; id < n; ++id) {
        if (x[id] < kInfinity) continue;
        throw NumericsError("the logit of token " + std::to_string(id) + (x[id] != x[id] ? " is NaN" : " is infinite") +
                            " (bias and penalties included)");
    }
    throw NumericsError("every logit is -infinity (bias and penalties included): no token is left to draw");
}

// The first candidate: the largest logit, at the lowest id that has it.
size_t argmax(const float* x, size_t n) {
    constexpr size_t kBlock = 1024;
    int32_t best = rank(-kInfinity), lowest = 0;
    size_t best_block = 0;
    for (size_t begin = 0; begin < n; begin += kBlock) {
        const size_t end = std::min(begin + kBlock, n);
        int32_t top = std::numeric_limits<int32_t>::min();
        for (size_t i = begin; i < end; ++i) {
            const int32_t r = rank(x[i]);
            top = std::max(top, r);
            lowest = std::min(lowest, r);
        }
        if (top > best) {
            best = top;
            best_block = begin;
        }
    }
    if (best >= rank(kInfinity) || best == rank(-kInfinity) || lowest < rank(-kInfinity)) throw_not_finite(x, n);
    size_t id = best_block;
    while (rank(x[id]) != best) ++id;
    return id;
}

void require(bool ok, const char* name, const char* range) {
    if (!ok) throw std::invalid_argument(std::string(name) + " must be " + range);
}

bool fits_float(double x) { return std::fabs(x) <= FLT_MAX; }  // false for NaN

void validate(const SamplingParams& p, int32_t n_vocab) {
    require(n_vocab >= 1 && n_vocab <= Sampler::kMaxVocab, "n_vocab", "between 1 and 4194304");
    require(p.temperature >= 0 && fits_float(p.temperature), "temperature", "a finite number >= 0");
    require(p.top_k >= 0, "top_k", ">= 0 (0: off)");
    require(p.top_p > 0 && p.top_p <= 1, "top_p", "above 0 and at most 1 (1: off)");
    require(p.min_p >= 0 && p.min_p <= 1, "min_p", "between 0 and 1 (0: off)");
    require(fits_float(p.repetition_penalty) && static_cast<float>(p.repetition_penalty) > 0, "repetition_penalty",
            "a finite number > 0 (1: off)");
    require(fits_float(p.presence_penalty), "presence_penalty", "a finite number");
    require(fits_float(p.frequency_penalty), "frequency_penalty", "a finite number");
    require(p.penalty_last_n >= -1 && p.penalty_last_n <= Sampler::kMaxLastN, "penalty_last_n",
            "between 0 and 1048576, or -1 for the whole sequence");
    for (const auto& [id, bias] : p.logit_bias) {
        require(id >= 0 && id < n_vocab, "logit_bias",
                ("of ids below n_vocab " + std::to_string(n_vocab) + ", not " + std::to_string(id)).c_str());
        require(fits_float(bias) || bias == -HUGE_VAL, "logit_bias", "finite, or -infinity to ban a token");
    }
}

}  // namespace

History::History(int32_t n_vocab, int32_t last_n)
    : last_n_(last_n),
      ring_(static_cast<size_t>(std::max(last_n, 0)), -1),
      counts_(static_cast<size_t>(n_vocab)),
      slot_(static_cast<size_t>(n_vocab)) {
    distinct_.reserve(static_cast<size_t>(last_n < 0 ? n_vocab : std::min(n_vocab, last_n)));
}

void History::push(int32_t id) {
    if (last_n_ == 0) return;
    if (last_n_ > 0) {
        int32_t& oldest = ring_[next_];  // -1: not yet written
        if (oldest >= 0) remove(oldest);
        oldest = id;
        next_ = (next_ + 1) % ring_.size();
    }
    const auto i = static_cast<size_t>(id);
    if (counts_[i]++ == 0) {
        slot_[i] = static_cast<uint32_t>(distinct_.size());
        distinct_.push_back(id);
    }
}

void History::remove(int32_t id) {
    const auto i = static_cast<size_t>(id);
    if (--counts_[i] > 0) return;
    const int32_t last = distinct_.back();
    distinct_[slot_[i]] = last;
    slot_[static_cast<size_t>(last)] = slot_[i];
    distinct_.pop_back();
}

void History::clear() {
    for (const int32_t id : distinct_) counts_[static_cast<size_t>(id)] = 0;
    distinct_.clear();
    std::fill(ring_.begin(), ring_.end(), -1);
    next_ = 0;
}

Sampler::Sampler(const SamplingParams& params, int32_t n_vocab, uint32_t stream)
    : kernels_(&choose_isa()),
      n_vocab_(n_vocab),
      stream_(stream),
      seed_(params.seed),
      top_p_(params.top_p),
      min_p_(params.min_p) {
    const FpEnvironment environment;  // the roundings to float32 are part of the result
    validate(params, n_vocab);
    const auto n = static_cast<size_t>(n_vocab);
    temperature_ = static_cast<float>(params.temperature);
    repetition_ = static_cast<float>(params.repetition_penalty);
    presence_ = static_cast<float>(params.presence_penalty);
    frequency_ = static_cast<float>(params.frequency_penalty);
    for (const auto& [id, bias] : params.logit_bias) {
        bias_.emplace_back(static_cast<int32_t>(id), static_cast<float>(bias));
    }
    penalized_ = params.penalty_last_n != 0 && (repetition_ != 1 || presence_ != 0 || frequency_ != 0);
    if (penalized_) history_ = History(n_vocab, static_cast<int32_t>(params.penalty_last_n));
    if (penalized_ || !bias_.empty()) adjusted_.resize(n);
    if (temperature_ == 0) return;

    top_k_ = params.top_k < n_vocab ? static_cast<size_t>(params.top_k) : 0;
    // The worst case, logits in ascending order, selects anew each time the room beyond k is full.
    if (top_k_ > 0) best_.resize(top_k_ + std::max<size_t>(top_k_, 256));
    const size_t room = top_k_ > 0 ? top_k_ : n;
    ids_.resize(room);
    x_.resize(room);
    e_.resize(room);
    if (top_p_ < 1) buckets_.resize(kBuckets);
}

void Sampler::accept(int32_t id) {
    require(id >= 0 && id < n_vocab_, "id", ("between 0 and " + std::to_string(n_vocab_ - 1)).c_str());
    if (penalized_) history_.push(id);
}

// The candidates for which `keep(logit, e)` holds; without a branch, for most of them go and some stay.
template <class Keep>
void Sampler::filter(Keep keep) {
    size_t kept = 0;
    for (size_t i = 0; i < n_; ++i) {
        const float x = x_[i], e = e_[i];
        ids_[kept] = ids_[i];
        x_[kept] = x;
        e_[kept] = e;
        kept += keep(x, e) ? 1 : 0;
    }
    n_ = kept;
}

int32_t Sampler::sample(const float* logits, uint64_t position) {
    const FpEnvironment environment;
    const float* x = adjust(logits);
    const size_t first = argmax(x, static_cast<size_t>(n_vocab_));
    if (temperature_ == 0) return static_cast<int32_t>(first);

    const float max = x[first];
    if (top_k_ > 0) {
        take_top_k(x);
    } else {
        take_all(x);
    }
    if (top_p_ < 1 || min_p_ > 0) {
        exponentiate(max, 1.0f);
        if (top_p_ < 1) keep_nucleus();
        filter([this](float, float e) { return static_cast<double>(e) >= min_p_; });
    }
    exponentiate(max, temperature_);
    return draw(position);
}

// Bias and penalties touch few tokens, but the caller's logits stay as they are.
const float* Sampler::adjust(const float* logits) {
    if (adjusted_.empty()) return logits;
    std::copy(logits, logits + n_vocab_, adjusted_.begin());
    for (const auto& [id, bias] : bias_) adjusted_[static_cast<size_t>(id)] += bias;
    for (const int32_t id : history_.distinct()) {
        float& x = adjusted_[static_cast<size_t>(id)];
        x = x > 0 ? x / repetition_ : x * repetition_;
        x = x - (presence_ + frequency_ * static_cast<float>(history_.count(id)));
    }
    return adjusted_.data();
}

// One pass, which skips whole blocks below the k-th best so far: 40 of 150,000 random logits take about 370 inserts.
void Sampler::take_top_k(const float* x) {
    constexpr size_t kBlock = 64;
    const auto n_vocab = static_cast<size_t>(n_vocab_);
    const auto begin = best_.begin();
    const auto keep_best = [&](size_t n) {
        std::nth_element(begin, begin + static_cast<std::ptrdiff_t>(top_k_ - 1), begin + static_cast<std::ptrdiff_t>(n),
                         std::greater<>());
    };
    // A logit equal to the threshold is behind it, because its id is higher; -infinity is no candidate.
    int32_t threshold = rank(-kInfinity);
    size_t n = 0;
    for (size_t block = 0; block < n_vocab; block += kBlock) {
        const size_t end = std::min(block + kBlock, n_vocab);
        int32_t top = threshold;
        for (size_t i = block; i < end; ++i) top = std::max(top, rank(x[i]));
        if (top == threshold) continue;
        for (size_t i = block; i < end; ++i) {
            const int32_t r = rank(x[i]);
            if (r <= threshold) continue;
            best_[n++] = pack(r, i);
            if (n < best_.size()) continue;
            keep_best(n);
            n = top_k_;
            threshold = packed_rank(best_[top_k_ - 1]);
        }
    }
    if (n > top_k_) {
        keep_best(n);
        n = top_k_;
    }
    for (size_t i = 0; i < n; ++i) ids_[i] = packed_id(best_[i]);
    std::sort(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(n));
    for (size_t i = 0; i < n; ++i) x_[i] = x[ids_[i]];
    n_ = n;
}

void Sampler::take_all(const float* x) {
    size_t n = 0;
    for (int32_t id = 0; id < n_vocab_; ++id) {
        ids_[n] = id;
        x_[n] = x[id];
        n += x[id] > -kInfinity ? 1 : 0;
    }
    n_ = n;
}

void Sampler::exponentiate(float max, float temperature) {
    for (size_t i = 0; i < n_; ++i) e_[i] = (x_[i] - max) / temperature;
    kernels_->exp(e_.data(), static_cast<int64_t>(n_), e_.data());
}

// top-p without a sort: a sum of integer weights has no order, so the last logit kept is found digit by digit of its
// rank, from the weight in each bucket, and each digit drops what is below. Linear for any logits: 150,000 take 0.6 ms
// for a model's logits and 1.7 ms for nearly equal ones, where sorting alone takes 7.5 ms.
void Sampler::keep_nucleus() {
    const double need = top_p_ * static_cast<double>(total_weight(e_.data(), n_));
    uint64_t sum = 0;    // the weight of all candidates of a rank above the bucket looked at
    uint32_t last = 0;   // the rank of the last logit kept, in the digits found so far
    uint32_t known = 0;  // the mask of those digits
    for (const int shift : {32 - kDigitBits, 32 - 2 * kDigitBits, 0}) {
        std::fill(buckets_.begin(), buckets_.end(), 0);
        for (size_t i = 0; i < n_; ++i) {
            const uint32_t r = unsigned_rank(x_[i]);
            if ((r & known) == last) buckets_[(r & ~known) >> shift] += weight(e_[i]);
        }
        size_t bucket = kBuckets - 1;
        while (static_cast<double>(sum + buckets_[bucket]) < need) sum += buckets_[bucket--];
        last |= static_cast<uint32_t>(bucket) << shift;
        known = ~uint32_t{0} << shift;
        filter([last](float x, float) { return unsigned_rank(x) >= last; });
    }
    // Of logits equal to the last one the lower ids stay, until the sum is reached.
    filter([&](float x, float e) {
        if (unsigned_rank(x) > last) return true;
        if (static_cast<double>(sum) >= need) return false;
        sum += weight(e);
        return true;
    });
}

int32_t Sampler::draw(uint64_t position) const {
    const uint64_t total = total_weight(e_.data(), n_);
    const uint64_t target = scale_bits(random_bits(seed_, stream_, position), total);
    uint64_t sum = 0;
    size_t i = 0;
    while ((sum += weight(e_[i])) <= target) ++i;  // ends: target < total
    return ids_[i];
}

}  // namespace pyruntime
