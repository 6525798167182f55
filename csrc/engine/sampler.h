// From logits to a token id: bias, penalties, top-k, top-p, min-p, temperature, draw (docs/numerics.md, "Sampling").
// The random number is a function of (seed, stream, position) alone, so what else is in the batch cannot matter.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace pyruntime {

struct KernelTable;

struct SamplingParams {
    double temperature = 0.8;  // 0: greedy
    int64_t top_k = 40;        // 0: off
    double top_p = 0.95;       // 1: off
    double min_p = 0.05;       // 0: off
    double repetition_penalty = 1.0;
    double presence_penalty = 0.0;
    double frequency_penalty = 0.0;
    int64_t penalty_last_n = 64;                         // 0: none, -1: the whole sequence
    std::vector<std::pair<int64_t, double>> logit_bias;  // (id, added to its logit); -infinity bans the token
    uint64_t seed = 0;
};

// How often each id occurs among the last `last_n` ids (-1: among all), in O(1) a token.
class History {
  public:
    History() = default;  // of no ids
    History(int32_t n_vocab, int32_t last_n);
    void push(int32_t id);
    void clear();
    const std::vector<int32_t>& distinct() const { return distinct_; }
    uint32_t count(int32_t id) const { return counts_[static_cast<size_t>(id)]; }

  private:
    void remove(int32_t id);

    int32_t last_n_ = 0;
    std::vector<int32_t> ring_;  // (last_n), the oldest at next_ once it is full
    size_t next_ = 0;
    std::vector<uint32_t> counts_;   // (n_vocab)
    std::vector<uint32_t> slot_;     // (n_vocab), where in distinct_ an id of count > 0 stands
    std::vector<int32_t> distinct_;  // the ids of count > 0, in no order
};

// One sampler a sequence; not safe to share between threads. Every buffer is allocated in the constructor.
class Sampler {
  public:
    static constexpr int32_t kMaxVocab = 1 << 22;     // keeps a sum of weights below 2^63
    static constexpr int32_t kMaxLastN = 1 << 20;     // the longest context there is
    static constexpr double kWeightOne = 1ull << 40;  // the weight of the first candidate

    // Throws std::invalid_argument that names the parameter out of its range.
    Sampler(const SamplingParams& params, int32_t n_vocab, uint32_t stream);

    // Adds an id of the sequence, of the prompt or sampled, to the history of the penalties.
    void accept(int32_t id);
    // Forgets the history. To go back in a sequence: reset, then accept what is left of it.
    void reset() { history_.clear(); }
    // logits: (n_vocab), not modified. position: the index in the sequence of the token being drawn.
    // Throws NumericsError if a logit is NaN or +infinity, or if all are -infinity.
    int32_t sample(const float* logits, uint64_t position);

    int32_t n_vocab() const { return n_vocab_; }
    uint64_t seed() const { return seed_; }
    uint32_t stream() const { return stream_; }

  private:
    const float* adjust(const float* logits);
    void take_top_k(const float* x);
    void take_all(const float* x);
    void exponentiate(float max, float temperature);
    void keep_nucleus();
    template <class Keep>
    void filter(Keep keep);
    int32_t draw(uint64_t position) const;

    const KernelTable* kernels_;  // for exp, of the same bits on every instruction set
    int32_t n_vocab_;
    uint32_t stream_;
    uint64_t seed_;
    float temperature_;
    size_t top_k_ = 0;  // 0: off
    double top_p_, min_p_;
    float repetition_, presence_, frequency_;
    bool penalized_;
    std::vector<std::pair<int32_t, float>> bias_;
    History history_;

    std::vector<float> adjusted_;  // (n_vocab) where there is a bias or a penalty
    std::vector<int64_t> best_;    // top-k: ranks of the best so far, room for more than k
    // The candidates left, by ascending id: (top_k), or (n_vocab) without top-k.
    size_t n_ = 0;
    std::vector<int32_t> ids_;
    std::vector<float> x_;           // their logits
    std::vector<float> e_;           // exp((x - max) / temperature), with temperature 1 for top-p and min-p
    std::vector<uint64_t> buckets_;  // top-p: weight of the candidates by a digit of their rank
};

}  // namespace pyruntime
