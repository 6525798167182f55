#include "engine/logprobs.h"

#include <algorithm>
#include <functional>

#include "engine/rope_math.h"
#include "kernels/table.h"

namespace pyruntime {

namespace {

constexpr double kLn2 = 0.6931471805599453;

// The sum of W(logit - max), as everywhere in sampling; in blocks that stay in the first cache.
uint64_t partition(const KernelTable& kernels, const float* logits, size_t n, float max) {
    constexpr size_t kBlock = 2048;
    float e[kBlock];
    uint64_t total = 0;
    for (size_t begin = 0; begin < n; begin += kBlock) {
        const size_t size = std::min(kBlock, n - begin);
        for (size_t i = 0; i < size; ++i) e[i] = logits[begin + i] - max;
        kernels.exp(e, static_cast<int64_t>(size), e);
        total += total_weight(e, size);
    }
    return total;
}

}  // namespace

void Logprobs::compute(const KernelTable& kernels, const float* logits, size_t n_vocab, int32_t id) {
    const float max = logits[first_candidate(logits, n_vocab)];
    const double total = static_cast<double>(partition(kernels, logits, n_vocab, max)) / kWeightOne;
    const double log_total = portable_log2(total) * kLn2;
    const auto entry = [&](int32_t i) {
        return Entry(i, (static_cast<double>(logits[i]) - static_cast<double>(max)) - log_total);
    };
    chosen_ = entry(id);
    const auto n = static_cast<std::ptrdiff_t>(best_.select(logits, n_vocab));
    std::vector<int64_t>& found = best_.found();
    std::sort(found.begin(), found.begin() + n, std::greater<>());
    top_.clear();
    for (std::ptrdiff_t i = 0; i < n; ++i) top_.push_back(entry(packed_id(found[static_cast<size_t>(i)])));
}

}  // namespace pyruntime
