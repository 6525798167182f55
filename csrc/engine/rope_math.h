// The angles of rotary embedding, in float64 by IEEE operations alone: the same on every machine (docs/numerics.md).
// Relative error below 1e-14 for a theta up to 1e9, far under the float32 they are rounded to; tests/test_rope_math.py
// measures it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace pyruntime {

// Adding and taking away 1.5 * 2^52 rounds to a whole number, ties to even.
inline double round_even(double x) { return (x + 6755399441055744.0) - 6755399441055744.0; }

inline double portable_log2(double x) {  // x > 0 and normal
    uint64_t bits;
    std::memcpy(&bits, &x, 8);
    int exponent = int(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull;
    double m;
    std::memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    const double s = (m - 1.0) / (m + 1.0), s2 = s * s;  // |s| <= 0.172; ln m = 2 atanh(s)
    double sum = 0;
    for (int k = 25; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
    return exponent + 2.0 * s * sum * 1.4426950408889634;
}

inline double portable_exp2(double x) {  // |x| < 1000
    const double n = round_even(x), y = (x - n) * 0.6931471805599453;
    double sum = 1;
    for (int k = 18; k >= 1; k--) sum = sum * y / k + 1.0;
    const uint64_t bits = uint64_t(int64_t(n) + 1023) << 52;
    double scale;
    std::memcpy(&scale, &bits, 8);
    return sum * scale;
}

// Of each pair of dimensions: theta^(-2i / n_rot).
inline std::vector<double> rope_frequencies(double theta, int n_rot) {
    const double log2_theta = portable_log2(theta);
    std::vector<double> frequencies;
    for (int i = 0; i < n_rot / 2; i++) frequencies.push_back(portable_exp2(-(2.0 * i / n_rot) * log2_theta));
    return frequencies;
}

constexpr double kLargestFrequency = 1.5;  // at 2^20 positions its angle is the last that portable_sincos takes

// How frequencies are stretched past the original context: RopeScaling in pyruntime/plan/operations/attention.py.
struct RopeScaling {
    double factor = 1;            // from 1 / kLargestFrequency
    double original_context = 0;  // from 1: yarn (arXiv:2309.00071); 0: linear
    double beta_fast = 32, beta_slow = 1;
    bool truncate = true;
    double magnitude = 1;
};

// Yarn's ramp lies between the dimensions that turn beta_fast and beta_slow times in the original context: those before
// it keep their frequency, those after it are divided by the factor. Needs theta > 1. (floor and ceil are exact.)
inline void scale_frequencies(std::vector<double>& frequencies, double theta, const RopeScaling& s) {
    const auto n_rot = double(2 * frequencies.size());
    if (s.original_context == 0) {
        for (double& f : frequencies) f = f / s.factor;
        return;
    }
    const auto bound = [&](double turns) {
        const double wavelengths = s.original_context / (turns * 2 * 3.141592653589793);
        return n_rot * portable_log2(wavelengths) / (2 * portable_log2(theta));
    };
    double low = bound(s.beta_fast), high = bound(s.beta_slow);
    if (s.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0);
    high = std::min(high, n_rot - 1);
    for (size_t i = 0; i < frequencies.size(); i++) {
        const double ramp = std::min(std::max((double(i) - low) / std::max(high - low, 0.001), 0.0), 1.0);
        frequencies[i] *= ramp / s.factor + 1 - ramp;
    }
}

inline void portable_sincos(double angle, double& sine, double& cosine) {  // |angle| < 1.6e6
    const double k = round_even(angle * 0.63661977236758138);
    // pi/2 in three parts of 33 bits: k * part is exact for |k| < 2^20.
    const double r =
        ((angle - k * 1.57079632673412561417e+00) - k * 6.07710050630396597660e-11) - k * 2.02226624871116645580e-21;
    const double r2 = r * r;
    double s = 1, c = 1;
    for (int i = 17; i >= 3; i -= 2) s = 1.0 - s * r2 / (i * (i - 1));
    for (int i = 16; i >= 2; i -= 2) c = 1.0 - c * r2 / (i * (i - 1));
    s *= r;
    switch (int64_t(k) & 3) {
        case 0:
            sine = s, cosine = c;
            break;
        case 1:
            sine = c, cosine = -s;
            break;
        case 2:
            sine = -s, cosine = -c;
            break;
        default:
            sine = -c, cosine = s;
            break;
    }
}

}  // namespace pyruntime
