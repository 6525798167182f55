#include "engine/sampler.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "dispatch/fp_env.h"
#include "dispatch/isa.h"
#include "engine/philox.h"
#include "engine/rope_math.h"

namespace pyruntime {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kDigitBits = 11;  // three digits make a 32-bit rank; 2048 sums are 16 KiB, half of a small L1 cache
constexpr size_t kBuckets = size_t{1} << kDigitBits;
constexpr size_t kZipf = 100;  // candidates from which mirostat 1 estimates the exponent
constexpr double kLog2E = 1.4426950408889634;

// Integers that are larger the nearer x is to `typical`.
inline uint32_t rank_of_distance(float x, float typical) {
    return ~static_cast<uint32_t>(rank(x > typical ? x - typical : typical - x));
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, int32_t n_vocab, uint32_t stream, std::optional<int64_t> top_logprobs)
    : params_(params), kernels_(&choose_isa()), n_vocab_(n_vocab), stream_(stream), seed_(params.seed) {
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
    const bool dry = params.dry_multiplier > 0 && params.dry_penalty_last_n != 0;
    if (penalized_) history_ = History(n_vocab, static_cast<int32_t>(params.penalty_last_n));
    if (dry) dry_ = Dry(params, n_vocab);
    if (penalized_ || dry || !bias_.empty()) adjusted_.resize(n);
    if (top_logprobs) {
        require(*top_logprobs >= 0 && *top_logprobs <= n_vocab, "top_logprobs",
                ("between 0 and " + std::to_string(n_vocab)).c_str());
        logprobs_.emplace(static_cast<size_t>(*top_logprobs));
    }
    if (temperature_ == 0) return;

    if (params.mirostat > 0) {
        mirostat_.emplace(params.mirostat_tau, params.mirostat_eta);
        if (params.mirostat == 1) order_.resize(n);
    } else if (params.top_k < n_vocab) {
        best_ = TopK(static_cast<size_t>(params.top_k));
    }
    const size_t room = best_.k() > 0 ? best_.k() : n;
    ids_.resize(room);
    x_.resize(room);
    e_.resize(room);
    if (params.top_p < 1 || params.typical_p < 1) buckets_.resize(kBuckets);
}

void Sampler::accept(int32_t id) {
    require(id >= 0 && id < n_vocab_, "id", ("between 0 and " + std::to_string(n_vocab_ - 1)).c_str());
    if (penalized_) history_.push(id);
    dry_.push(id);
    if (mirostat_) mirostat_->accept(id);
}

void Sampler::reset() {
    history_.clear();
    dry_.clear();
    if (mirostat_) mirostat_->reset();
}

int32_t Sampler::sample(const float* logits, uint64_t position) {
    const FpEnvironment environment;
    const float* x = adjust(logits);
    const size_t first = first_candidate(x, static_cast<size_t>(n_vocab_));
    const int32_t id = temperature_ == 0 ? static_cast<int32_t>(first) : choose(x, x[first], position);
    if (logprobs_) logprobs_->compute(*kernels_, logits, static_cast<size_t>(n_vocab_), id);
    return id;
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
    dry_.penalize(adjusted_.data());
    return adjusted_.data();
}

int32_t Sampler::choose(const float* x, float max, uint64_t position) {
    const SamplingParams& p = params_;
    if (mirostat_) {
        take_all(x);
        return draw_mirostat(max, position);
    }
    if (best_.k() > 0) {
        take_top_k(x);
    } else {
        take_all(x);
    }
    if (p.top_n_sigma > 0) keep_near_max(x, max);
    if (p.typical_p < 1) {
        exponentiate(max, 1.0f);
        keep_typical(max);
        max = x_[first()];
    }
    if (p.top_p < 1 || p.min_p > 0 || p.xtc_probability > 0) {
        exponentiate(max, 1.0f);
        if (p.top_p < 1) keep_share(p.top_p, [](float logit) { return unsigned_rank(logit); });
        filter([&p](size_t, float, float e) { return static_cast<double>(e) >= p.min_p; });
        if (p.xtc_probability > 0 && exclude_top_choices(position)) max = x_[first()];
    }
    const float temperature = p.dynatemp_range > 0 ? dynamic_temperature(max) : temperature_;
    if (temperature == 0) return ids_[first()];
    exponentiate(max, temperature);
    return ids_[draw(position)];
}

void Sampler::take_top_k(const float* x) {
    n_ = best_.select(x, static_cast<size_t>(n_vocab_));
    for (size_t i = 0; i < n_; ++i) ids_[i] = packed_id(best_.found()[i]);
    std::sort(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(n_));
    for (size_t i = 0; i < n_; ++i) x_[i] = x[ids_[i]];
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

// The candidates for which `keep(index, logit, e)` holds; without a branch, for most of them go and some stay.
template <class Keep>
void Sampler::filter(Keep keep) {
    size_t kept = 0;
    for (size_t i = 0; i < n_; ++i) {
        const float x = x_[i], e = e_[i];
        ids_[kept] = ids_[i];
        x_[kept] = x;
        e_[kept] = e;
        kept += keep(i, x, e) ? 1 : 0;
    }
    n_ = kept;
}

// top-n-sigma: the spread is that of all logits above -infinity, whatever top-k has left of them.
void Sampler::keep_near_max(const float* x, float max) {
    const auto n_vocab = static_cast<size_t>(n_vocab_);
    size_t n = 0;
    for (size_t i = 0; i < n_vocab; ++i) n += x[i] > -kInfinity ? 1 : 0;
    const double count = static_cast<double>(n);
    const double mean = lane_sum(n_vocab, [x](size_t i) { return x[i] > -kInfinity ? double{x[i]} : 0.0; }) / count;
    const double squares = lane_sum(n_vocab, [x, mean](size_t i) {
        const double d = x[i] > -kInfinity ? double{x[i]} - mean : 0.0;
        return d * d;
    });
    const double least = double{max} - params_.top_n_sigma * std::sqrt(squares / count);
    filter([least](size_t, float logit, float) { return double{logit} >= least; });
}

void Sampler::exponentiate(float max, float temperature) {
    for (size_t i = 0; i < n_; ++i) e_[i] = (x_[i] - max) / temperature;
    kernels_->exp(e_.data(), static_cast<int64_t>(n_), e_.data());
}

// The best by rank(logit), then by id, until their weight reaches a share of the total. Without a sort: a sum of
// integer weights has no order, so the last rank kept is found digit by digit, from the weight in each bucket, and each
// digit drops what is below. Linear for any logits: 150,000 take 0.6 ms for a model's logits and 1.7 ms for nearly
// equal ones, where sorting alone takes 7.5 ms.
template <class Rank>
void Sampler::keep_share(double share, Rank rank_of) {
    const double need = share * static_cast<double>(total_weight(e_.data(), n_));
    uint64_t sum = 0;    // the weight of all candidates of a rank above the bucket looked at
    uint32_t last = 0;   // the rank of the last logit kept, in the digits found so far
    uint32_t known = 0;  // the mask of those digits
    for (const int shift : {32 - kDigitBits, 32 - 2 * kDigitBits, 0}) {
        std::fill(buckets_.begin(), buckets_.end(), 0);
        for (size_t i = 0; i < n_; ++i) {
            const uint32_t r = rank_of(x_[i]);
            if ((r & known) == last) buckets_[(r & ~known) >> shift] += weight(e_[i]);
        }
        size_t bucket = kBuckets - 1;
        while (static_cast<double>(sum + buckets_[bucket]) < need) sum += buckets_[bucket--];
        last |= static_cast<uint32_t>(bucket) << shift;
        known = ~uint32_t{0} << shift;
        filter([last, rank_of](size_t, float x, float) { return rank_of(x) >= last; });
    }
    // Of those of the last rank the lower ids stay, until the sum is reached.
    filter([&](size_t, float x, float e) {
        if (rank_of(x) > last) return true;
        if (static_cast<double>(sum) >= need) return false;
        sum += weight(e);
        return true;
    });
}

// The mean of logit - max under the probabilities: minus the entropy, up to the logarithm of the partition.
double Sampler::mean_distance(float max) const {
    const double sum = lane_sum(n_, [this, max](size_t i) {
        const uint64_t w = weight(e_[i]);
        return w > 0 ? static_cast<double>(w) * double{x_[i] - max} : 0.0;  // not 0 * -infinity
    });
    return sum / static_cast<double>(total_weight(e_.data(), n_));
}

// Meister et al. 2022: by |-log p - entropy|. The logarithm of the partition cancels in that, and what is left is the
// distance of a logit from the mean of the logits under p.
void Sampler::keep_typical(float max) {
    const auto mean = static_cast<float>(mean_distance(max));
    keep_share(params_.typical_p, [max, mean](float x) { return rank_of_distance(x - max, mean); });
}

// XTC (by p-e-w): all but the last of the candidates that reach the threshold go. Whether they did.
bool Sampler::exclude_top_choices(uint64_t position) {
    const uint64_t bits = random_bits(seed_, stream_, position, Purpose::xtc);
    if (static_cast<double>(bits >> 11) * 0x1p-53 >= params_.xtc_probability) return false;
    const double least = params_.xtc_threshold * static_cast<double>(total_weight(e_.data(), n_));
    int64_t last = std::numeric_limits<int64_t>::max();
    size_t reach = 0;
    for (size_t i = 0; i < n_; ++i) {
        if (static_cast<double>(weight(e_[i])) < least) continue;
        ++reach;
        last = std::min(last, pack_candidate(rank(x_[i]), i));
    }
    if (reach < 2) return false;
    const auto stays = static_cast<size_t>(packed_id(last));
    filter([=](size_t i, float, float e) { return i == stays || static_cast<double>(weight(e)) < least; });
    return true;
}

// temperature +- range, by the entropy of the candidates left over the largest that it could be.
float Sampler::dynamic_temperature(float max) {
    if (n_ < 2) return temperature_;
    exponentiate(max, 1.0f);
    const double total = static_cast<double>(total_weight(e_.data(), n_));
    const double entropy = portable_log2(total / kWeightOne) - mean_distance(max) * kLog2E;  // in bits
    const double share = std::min(entropy / portable_log2(static_cast<double>(n_)), 1.0);
    const double exponent = share > 0x1p-60 ? params_.dynatemp_exponent * portable_log2(share) : -900.0;
    const double low = std::max(0.0, params_.temperature - params_.dynatemp_range);
    const double high = params_.temperature + params_.dynatemp_range;
    const double temperature = low + (high - low) * portable_exp2(std::max(exponent, -900.0));
    return static_cast<float>(std::min(temperature, double{FLT_MAX}));
}

// The index of the first candidate left.
size_t Sampler::first() const {
    int64_t best = pack_candidate(rank(x_[0]), 0);
    for (size_t i = 1; i < n_; ++i) best = std::max(best, pack_candidate(rank(x_[i]), i));
    return static_cast<size_t>(packed_id(best));
}

// The index of the candidate drawn.
size_t Sampler::draw(uint64_t position) const {
    const uint64_t total = total_weight(e_.data(), n_);
    const uint64_t target = scale_bits(random_bits(seed_, stream_, position), total);
    uint64_t sum = 0;
    size_t i = 0;
    while ((sum += weight(e_[i])) <= target) ++i;  // ends: target < total
    return i;
}

int32_t Sampler::draw_mirostat(float max, uint64_t position) {
    exponentiate(max, temperature_);
    if (params_.mirostat == 1) {
        keep_by_zipf(max);
    } else {
        const double least = mirostat_->least_weight(total_weight(e_.data(), n_));
        const size_t best = first();
        filter([=](size_t i, float, float e) { return i == best || static_cast<double>(weight(e)) >= least; });
    }
    const size_t drawn = draw(position);
    mirostat_->drew(ids_[drawn], weight(e_[drawn]), total_weight(e_.data(), n_));
    return ids_[drawn];
}

// Mirostat 1 looks at candidates that have a weight: the others have no difference of logarithms.
void Sampler::keep_by_zipf(float max) {
    filter([](size_t, float, float e) { return weight(e) > 0; });
    for (size_t i = 0; i < n_; ++i) order_[i] = pack_candidate(rank(x_[i]), i);
    const auto begin = order_.begin();
    const size_t n_first = std::min(n_, kZipf);
    std::partial_sort(begin, begin + static_cast<std::ptrdiff_t>(n_first), begin + static_cast<std::ptrdiff_t>(n_),
                      std::greater<>());
    double d[kZipf];
    for (size_t i = 0; i < n_first; ++i) {
        d[i] = double{x_[static_cast<size_t>(packed_id(order_[i]))] - max} / double{temperature_};
    }
    const size_t k = mirostat_->keep(d, n_first, n_);
    std::nth_element(begin, begin + static_cast<std::ptrdiff_t>(k - 1), begin + static_cast<std::ptrdiff_t>(n_),
                     std::greater<>());
    const int64_t last = order_[k - 1];
    filter([this, last](size_t i, float x, float) { return pack_candidate(rank(x), i) >= last; });
}

}  // namespace pyruntime
