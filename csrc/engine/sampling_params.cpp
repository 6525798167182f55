#include "engine/sampling_params.h"

#include <cfloat>
#include <cmath>
#include <stdexcept>
#include <string>

namespace pyruntime {

namespace {

bool fits_float(double x) { return std::fabs(x) <= FLT_MAX; }  // false for NaN

void require_last_n(int64_t n, const char* name) {
    require(n >= -1 && n <= kMaxLastN, name, "between 0 and 1048576, or -1 for the whole sequence");
}

void require_ids(int64_t id, int32_t n_vocab, const char* name) {
    if (id >= 0 && id < n_vocab) return;
    require(false, name, ("of ids below n_vocab " + std::to_string(n_vocab) + ", not " + std::to_string(id)).c_str());
}

}  // namespace

void require(bool ok, const char* name, const char* range) {
    if (!ok) throw std::invalid_argument(std::string(name) + " must be " + range);
}

void validate(const SamplingParams& p, int32_t n_vocab) {
    require(n_vocab >= 1 && n_vocab <= kMaxVocab, "n_vocab", "between 1 and 4194304");
    require(p.temperature >= 0 && fits_float(p.temperature), "temperature", "a finite number >= 0");
    require(p.top_k >= 0, "top_k", ">= 0 (0: off)");
    require(p.top_p > 0 && p.top_p <= 1, "top_p", "above 0 and at most 1 (1: off)");
    require(p.min_p >= 0 && p.min_p <= 1, "min_p", "between 0 and 1 (0: off)");
    require(p.typical_p > 0 && p.typical_p <= 1, "typical_p", "above 0 and at most 1 (1: off)");
    require(p.top_n_sigma >= 0 && fits_float(p.top_n_sigma), "top_n_sigma", "a finite number >= 0 (0: off)");
    require(p.xtc_probability >= 0 && p.xtc_probability <= 1, "xtc_probability", "between 0 (off) and 1");
    require(p.xtc_threshold >= 0 && p.xtc_threshold <= 1, "xtc_threshold", "between 0 and 1");
    require(p.dynatemp_range >= 0 && fits_float(p.dynatemp_range), "dynatemp_range", "a finite number >= 0 (0: off)");
    require(p.dynatemp_exponent > 0 && fits_float(p.dynatemp_exponent), "dynatemp_exponent", "a finite number > 0");
    require(p.mirostat >= 0 && p.mirostat <= 2, "mirostat", "0 (off), 1 or 2");
    require(p.mirostat_tau >= 0 && fits_float(p.mirostat_tau), "mirostat_tau", "a finite number >= 0");
    require(p.mirostat_eta >= 0 && p.mirostat_eta <= 1, "mirostat_eta", "between 0 and 1");
    require(fits_float(p.repetition_penalty) && static_cast<float>(p.repetition_penalty) > 0, "repetition_penalty",
            "a finite number > 0 (1: off)");
    require(fits_float(p.presence_penalty), "presence_penalty", "a finite number");
    require(fits_float(p.frequency_penalty), "frequency_penalty", "a finite number");
    require_last_n(p.penalty_last_n, "penalty_last_n");
    require(p.dry_multiplier >= 0 && fits_float(p.dry_multiplier), "dry_multiplier", "a finite number >= 0 (0: off)");
    require(p.dry_base >= 1 && fits_float(p.dry_base), "dry_base", "a finite number >= 1");
    require(p.dry_allowed_length >= 1 && p.dry_allowed_length <= kMaxLastN, "dry_allowed_length",
            "between 1 and 1048576");
    require_last_n(p.dry_penalty_last_n, "dry_penalty_last_n");
    for (const auto& breaker : p.dry_breakers) {
        require(!breaker.empty(), "dry_breakers", "sequences of at least one id");
        for (const int32_t id : breaker) require_ids(id, n_vocab, "dry_breakers");
    }
    for (const auto& [id, bias] : p.logit_bias) {
        require_ids(id, n_vocab, "logit_bias");
        require(fits_float(bias) || bias == -HUGE_VAL, "logit_bias", "finite, or -infinity to ban a token");
    }
}

}  // namespace pyruntime
