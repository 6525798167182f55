// The angles of rotary embedding, in float64 by IEEE operations alone: the same on every machine (docs/numerics.md).
// Relative error below 1e-14 for a theta up to 1e9, far under the float32 they are rounded to; tests/test_rope_math.py
// measures it.
#pragma once
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

// Yarn (arXiv:2309.00071): dimensions that turn fewer than `beta_slow` times in the original context are divided by
// `factor`, those that turn more than `beta_fast` times are not, in between it is blended. Bounds are in pairs of
// dimensions.
struct Yarn {
    double factor, original_context, beta_fast, beta_slow;
    bool truncate;  // the bounds to whole dimensions
};

inline void stretch(std::vector<double>& frequencies, double theta, const Yarn& yarn) {
    const double n_rot = 2.0 * double(frequencies.size()), log2_theta = portable_log2(theta);
    const auto pair_that_turns = [&](double times) {
        return n_rot * portable_log2(yarn.original_context / (times * 6.283185307179586)) / (2.0 * log2_theta);
    };
    double low = pair_that_turns(yarn.beta_fast), high = pair_that_turns(yarn.beta_slow);
    if (yarn.truncate) low = std::floor(low), high = std::ceil(high);
    low = low > 0 ? low : 0;
    high = high < n_rot - 1 ? high : n_rot - 1;
    const double width = high - low > 0.001 ? high - low : 0.001;
    for (size_t i = 0; i < frequencies.size(); i++) {
        const double ramp = (double(i) - low) / width, slow = ramp < 0 ? 0 : ramp < 1 ? ramp : 1;
        frequencies[i] *= slow / yarn.factor + 1.0 - slow;
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
