// What a sampler is told; pyruntime/sampling.py documents each parameter and checks it first.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace pyruntime {

constexpr int32_t kMaxVocab = 1 << 22;  // keeps a sum of weights below 2^63
constexpr int32_t kMaxLastN = 1 << 20;  // the longest context there is

struct SamplingParams {
    double temperature = 0.8;      // 0: greedy
    int64_t top_k = 40;            // 0: off
    double top_p = 0.95;           // 1: off
    double min_p = 0.05;           // 0: off
    double typical_p = 1.0;        // 1: off
    double top_n_sigma = 0.0;      // 0: off
    double xtc_probability = 0.0;  // 0: off
    double xtc_threshold = 0.1;
    double dynatemp_range = 0.0;  // 0: off
    double dynatemp_exponent = 1.0;
    int64_t mirostat = 0;  // 0: off, or version 1 or 2
    double mirostat_tau = 5.0;
    double mirostat_eta = 0.1;
    double repetition_penalty = 1.0;
    double presence_penalty = 0.0;
    double frequency_penalty = 0.0;
    int64_t penalty_last_n = 64;  // 0: none, -1: the whole sequence
    double dry_multiplier = 0.0;  // 0: off
    double dry_base = 1.75;
    int64_t dry_allowed_length = 2;
    int64_t dry_penalty_last_n = -1;                     // as penalty_last_n
    std::vector<std::vector<int32_t>> dry_breakers;      // sequences of ids that end what may repeat
    std::vector<std::pair<int64_t, double>> logit_bias;  // (id, added to its logit); -infinity bans the token
    uint64_t seed = 0;
};

// Throws std::invalid_argument that names the parameter out of its range.
void validate(const SamplingParams& params, int32_t n_vocab);

// Throws std::invalid_argument "<name> must be <range>".
void require(bool ok, const char* name, const char* range);

}  // namespace pyruntime
