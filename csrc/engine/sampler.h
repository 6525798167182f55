// From logits to a token id, by the chain of rules in docs/numerics.md, "Sampling".
// The random number is a function of (seed, stream, position) alone, so what else is in the batch cannot matter.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/candidates.h"
#include "engine/logprobs.h"
#include "engine/mirostat.h"
#include "engine/penalties.h"
#include "engine/sampling_params.h"

namespace pyruntime {

struct KernelTable;

// One sampler a sequence; not safe to share between threads. Buffers are allocated in the constructor, but for what DRY
// remembers of the text.
class Sampler {
  public:
    // top_logprobs: how many log probabilities are computed beside the chosen token's; nothing: none at all.
    // Throws std::invalid_argument that names the parameter out of its range.
    Sampler(const SamplingParams& params, int32_t n_vocab, uint32_t stream, std::optional<int64_t> top_logprobs = {});

    // Adds an id of the sequence, of the prompt or sampled, to what the penalties and mirostat know.
    void accept(int32_t id);
    // Forgets all of it. To go back in a sequence: reset, then accept what is left of it.
    void reset();
    // logits: (n_vocab), not modified. position: the index in the sequence of the token being drawn.
    // Throws NumericsError if a logit is NaN or +infinity, or if all are -infinity.
    int32_t sample(const float* logits, uint64_t position);

    int32_t n_vocab() const { return n_vocab_; }
    uint64_t seed() const { return seed_; }
    uint32_t stream() const { return stream_; }
    // Of the token sampled last; nullptr where they were not asked for.
    const Logprobs* logprobs() const { return logprobs_ ? &*logprobs_ : nullptr; }

  private:
    const float* adjust(const float* logits);
    int32_t choose(const float* x, float max, uint64_t position);
    void take_top_k(const float* x);
    void take_all(const float* x);
    void keep_near_max(const float* x, float max);
    void exponentiate(float max, float temperature);
    template <class Keep>
    void filter(Keep keep);
    template <class Rank>
    void keep_share(double share, Rank rank);
    double mean_distance(float max) const;
    void keep_typical(float max);
    bool exclude_top_choices(uint64_t position);
    float dynamic_temperature(float max);
    size_t first() const;
    size_t draw(uint64_t position) const;
    int32_t draw_mirostat(float max, uint64_t position);
    void keep_by_zipf(float max);

    const SamplingParams params_;
    const KernelTable* kernels_;  // for exp, of the same bits on every instruction set
    int32_t n_vocab_;
    uint32_t stream_;
    uint64_t seed_;
    float temperature_, repetition_, presence_, frequency_;
    bool penalized_;
    std::vector<std::pair<int32_t, float>> bias_;
    History history_;
    Dry dry_;
    std::optional<Mirostat> mirostat_;
    std::optional<Logprobs> logprobs_;

    std::vector<float> adjusted_;  // (n_vocab) where there is a bias or a penalty
    TopK best_;                    // of k 0 without top-k
    // The candidates left, by ascending id: (top_k), or (n_vocab) without top-k.
    size_t n_ = 0;
    std::vector<int32_t> ids_;
    std::vector<float> x_;           // their logits
    std::vector<float> e_;           // exp((x - max) / temperature), with temperature 1 for the rules before it
    std::vector<uint64_t> buckets_;  // keep_share: weight of the candidates by a digit of their rank
    std::vector<int64_t> order_;     // mirostat 1: the candidates to be sorted
};

}  // namespace pyruntime
