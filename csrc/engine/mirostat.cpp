#include "engine/mirostat.h"

#include <algorithm>

#include "engine/rope_math.h"

namespace pyruntime {

namespace {

constexpr double kLog2E = 1.4426950408889634;
constexpr double kSmall = 0x1p-20;  // what counts as zero where a formula divides by it

double exp2_within(double x) { return portable_exp2(std::min(std::max(x, -900.0), 900.0)); }

}  // namespace

size_t Mirostat::keep(const double* d, size_t n_first, size_t n) const {
    if (n < 2) return n;
    double products = 0, squares = 0;
    for (size_t i = 0; i + 1 < n_first; ++i) {
        const double t = portable_log2(static_cast<double>(i + 2) / static_cast<double>(i + 1));
        products += t * ((d[i] - d[i + 1]) * kLog2E);
        squares += t * t;
    }
    const double s = squares > 0 ? std::max(products / squares, kSmall) : kSmall;
    const double epsilon = s - 1, log2_n = portable_log2(static_cast<double>(n));
    const double ratio = std::max(epsilon, -epsilon) < kSmall ? kLog2E / log2_n  // its limit: 1 / ln n
                                                              : epsilon / (1 - exp2_within(-epsilon * log2_n));
    const double log2_k = (mu_ + portable_log2(ratio)) / s;
    if (log2_k >= log2_n) return n;
    return std::min(n, static_cast<size_t>(std::max(1.0, exp2_within(log2_k))));
}

double Mirostat::least_weight(uint64_t total) const { return static_cast<double>(total) * exp2_within(-mu_); }

// The next mu is computed here, not when it is accepted: sampling sets the floating-point environment.
void Mirostat::drew(int32_t id, uint64_t weight, uint64_t total) {
    drawn_ = id;
    const double surprise = portable_log2(static_cast<double>(total)) - portable_log2(static_cast<double>(weight));
    next_mu_ = mu_ - eta_ * (surprise - tau_);
}

void Mirostat::accept(int32_t id) {
    if (id == drawn_) mu_ = next_mu_;
    drawn_ = -1;
}

void Mirostat::reset() {
    mu_ = 2 * tau_;
    drawn_ = -1;
}

}  // namespace pyruntime
