// A loaded model: weights, plan, KV pages, threads. A step takes a batch of pieces, (sequence, tokens, whose logits);
// the sequences advance only if the whole step succeeds.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/executor.h"
#include "engine/kv_pages.h"
#include "engine/sampler.h"

namespace pyruntime {

struct EngineConfig {
    int64_t context;     // positions that a sequence may have
    int64_t max_tokens;  // of a step
    int n_threads;
    KVType kv_type;
    size_t kv_max_bytes;
    std::string isa;  // empty: PYRUNTIME_ISA, else the best
};

struct Piece {
    Sequence* sequence;
    const int32_t* ids;
    int64_t n;
    int64_t n_outputs;  // the last positions, whose logits are returned
};

// A piece after which tokens are drawn, by a sampler or none. The last n_guessed of its ids guess what will be drawn.
struct Draw {
    Piece piece;
    Sampler* sampler;
    int64_t n_guessed;
};

struct Drawn {
    std::vector<int32_t> ids;                                                        // none without a sampler
    std::vector<std::pair<Logprobs::Entry, std::vector<Logprobs::Entry>>> logprobs;  // of each id, if computed
    std::string error;  // of the draw after the last of them: what a NumericsError says; empty: there was none
};

class Engine {
  public:
    Engine(const gguf::File& file, const std::vector<std::string>& weights, PlanSpec plan, const EngineConfig& config,
           const Poll& poll, const Progress& progress = nullptr);

    int64_t n_vocab() const { return n_vocab_; }
    const EngineConfig& config() const { return config_; }
    uint64_t weights_digest() const { return weights_->digest(); }
    const char* isa() const { return kernels_.name; }

    // Steps, and what reads or changes a sequence, queue: safe from several threads. All throw Error in a forked child,
    // and on a thread that is inside a step already (a signal handler): they would wait for ever.
    std::shared_ptr<Sequence> new_sequence() const { return std::make_shared<Sequence>(pages_); }
    std::shared_ptr<Sequence> fork(const Sequence& sequence);
    void rewind(Sequence& sequence, int64_t length);
    size_t page_bytes() const { return pages_->page_bytes(); }
    void read_page(const Sequence& sequence, int64_t index, uint8_t* to) const;
    // Throws ContextError, std::invalid_argument for an id out of range or a sequence that is not whole pages.
    void append_page(Sequence& sequence, const int32_t* ids, const uint8_t* bytes);
    std::vector<int32_t> ids(const Sequence& sequence) const;
    int64_t length(const Sequence& sequence) const;

    // logits: (sum of outputs, n_vocab) float32, the pieces in order. Throws std::invalid_argument for an id out of
    // range, an empty piece, a sequence named twice or too many tokens; ContextError; MemoryLimitError; Interrupted;
    // NumericsError.
    void step(const std::vector<Piece>& pieces, float* logits, const Poll& poll);

    // A step, then the next token of each piece that has a sampler; while it is the one guessed, the token after it
    // too. The sampler accepts the ids of the piece first, but of the guesses those that were drawn; the last drawn id
    // is accepted with the step that takes it. Guesses that were not drawn leave the sequence again: it and the sampler
    // are as after a step for each drawn token. What fails on account of a guess is done again without guesses. Throws
    // what step() throws, and NumericsError where no token is left for the first draw of a piece.
    std::vector<Drawn> step_and_sample(std::vector<Draw> draws, const Poll& poll);

    // Runs steps of another plan of the same model, over the same weights and sequences, and gives values of it.
    class Capture {
      public:
        // The values `kept` of a plan with the engine's weights and caches. Throws Error where they differ.
        Capture(Engine& engine, PlanSpec plan, const std::vector<int>& kept);
        // A step of one piece. The rows of the i-th value go to to[i],
        // which holds as many as the piece has tokens. Throws what Engine::step throws.
        void step(const Piece& piece, const std::vector<float*>& to, const Poll& poll);

      private:
        Engine& engine_;
        size_t n_kept_;
        bool outputs_;  // a value has a row for each output
        std::unique_ptr<Executor> executor_;
        std::vector<float> logits_;
    };

    std::map<std::string, int64_t> counters() const;
    std::vector<int64_t> items_by_thread() const;
    void start_profile();
    Profile stop_profile();  // of the steps since start_profile(), those of a Capture left out

  private:
    // Holds the engine, for as long as it lives.
    class Hold {
      public:
        explicit Hold(const Engine& engine, const Poll& poll = nullptr);
        ~Hold() { engine_.holder_ = std::thread::id(); }
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

      private:
        const Engine& engine_;
        std::unique_lock<std::timed_mutex> lock_;
    };
    void check(const std::vector<Piece>& pieces) const;
    void run(Executor& executor, const std::vector<Piece>& pieces, float* logits, const Poll& poll);
    Drawn draw(const Draw& from, const PieceState& state, const float* logits);

    EngineConfig config_;
    const KernelTable& kernels_;
    int64_t n_vocab_;
    ThreadPool threads_;
    std::unique_ptr<Weights> weights_;
    std::vector<CacheSpec> caches_;
    std::shared_ptr<PagePool> pages_;
    std::unique_ptr<Executor> executor_;
    StepState state_;
    std::vector<float> sampled_logits_;
    mutable std::timed_mutex mutex_;
    mutable std::atomic<std::thread::id> holder_{};
    int64_t steps_ = 0, tokens_ = 0, largest_step_ = 0, direct_steps_ = 0;
};

}  // namespace pyruntime
