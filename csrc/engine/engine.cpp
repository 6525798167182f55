#include "engine/engine.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

#include "dispatch/fp_env.h"
#include "dispatch/isa.h"
#include "errors.h"

namespace pyruntime {

Engine::Engine(const gguf::File& file, const std::vector<std::string>& weights, PlanSpec plan,
               const EngineConfig& config, const Poll& poll, const Progress& progress)
    : config_(config), kernels_(choose_isa(config.isa)), threads_(config.n_threads) {
    const FpEnvironment environment;  // the plan's numbers, rope's frequencies among them, are part of the result
    // rope's argument reduction is exact below 2^20 quarter turns (docs/numerics.md)
    if (config.context < 1 || config.context > (1 << 20))
        throw std::invalid_argument("context must be between 1 and 1048576, not " + std::to_string(config.context));
    weights_ = std::make_unique<Weights>(file, weights, plan.flat, threads_, poll, progress);
    caches_ = plan.caches;
    pages_ = std::make_shared<PagePool>(plan.caches, config.kv_type, config.kv_max_bytes);
    if (plan.logits < 0 || size_t(plan.logits) >= plan.values.size()) throw Error("plan: no result");
    n_vocab_ = plan.values[size_t(plan.logits)].width;
    executor_ = std::make_unique<Executor>(std::move(plan), *weights_, *pages_, kernels_, threads_, config.max_tokens,
                                           config.context);
    const auto n = size_t(config.max_tokens);
    state_.ids.resize(n);
    state_.positions.resize(n);
    state_.piece_of.resize(n);
    state_.output_rows.resize(n);
    state_.pieces.reserve(n);
}

Engine::Hold::Hold(const Engine& engine, const Poll& poll) : engine_(engine), lock_(engine.mutex_, std::defer_lock) {
    engine.threads_.require_owner();  // another thread of the parent may have held the mutex at the fork
    if (engine.holder_ == std::this_thread::get_id())
        throw Error("this model is in the middle of a step on this thread; a signal handler cannot use it");
    while (!lock_.try_lock_for(kPollEvery))
        if (poll && poll()) throw Interrupted();
    engine.holder_ = std::this_thread::get_id();
}

std::shared_ptr<Sequence> Engine::fork(const Sequence& sequence) {
    const Hold hold(*this);
    return sequence.fork();
}

void Engine::read_page(const Sequence& sequence, int64_t index, uint8_t* to) const {
    const Hold hold(*this);
    const uint8_t* page = sequence.whole_page(index);
    std::copy(page, page + page_bytes(), to);
}

void Engine::append_page(Sequence& sequence, const int32_t* ids, const uint8_t* bytes) {
    const Hold hold(*this);
    if (sequence.length() + kPageTokens > config_.context)
        throw ContextError(std::to_string(sequence.length() + kPageTokens) + " tokens do not fit the context of " +
                           std::to_string(config_.context));
    for (int i = 0; i < kPageTokens; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab_)
            throw std::invalid_argument("token id " + std::to_string(ids[i]) + " is outside 0.." +
                                        std::to_string(n_vocab_ - 1));
    sequence.append_page(ids, bytes);
}

std::vector<int32_t> Engine::ids(const Sequence& sequence) const {
    const Hold hold(*this);
    return sequence.ids();
}

int64_t Engine::length(const Sequence& sequence) const {
    const Hold hold(*this);
    return sequence.length();
}

void Engine::rewind(Sequence& sequence, int64_t length) {
    const Hold hold(*this);
    if (length < 0 || length > sequence.length())
        throw std::invalid_argument("cannot rewind to " + std::to_string(length) + ": the sequence has " +
                                    std::to_string(sequence.length()) + " tokens");
    sequence.rewind(length);
}

void Engine::check(const std::vector<Piece>& pieces) const {
    int64_t total = 0;
    for (size_t i = 0; i < pieces.size(); i++) {
        const Piece& p = pieces[i];
        if (p.n < 1) throw std::invalid_argument("a step needs at least one token of each sequence");
        for (size_t j = 0; j < i; j++)
            if (pieces[j].sequence == p.sequence) throw std::invalid_argument("a sequence appears twice in a step");
        if (p.sequence->length() + p.n > config_.context)
            throw ContextError(std::to_string(p.sequence->length() + p.n) + " tokens do not fit the context of " +
                               std::to_string(config_.context) +
                               "; load the model with a larger context or shorten the text");
        total += p.n;
    }
    if (total == 0 || total > config_.max_tokens)
        throw std::invalid_argument("a step takes 1 to " + std::to_string(config_.max_tokens) + " tokens, not " +
                                    std::to_string(total));
}

void Engine::run(Executor& executor, const std::vector<Piece>& pieces, float* logits, const Poll& poll) {
    StepState& s = state_;
    s.n_tokens = s.n_outputs = 0;
    s.pieces.clear();
    s.logits = logits;
    check(pieces);
    try {
        for (const Piece& p : pieces) {
            p.sequence->reserve(p.n);
            s.pieces.push_back({p.sequence->pages(), s.n_tokens, p.n, p.sequence->length()});
            for (int64_t t = 0; t < p.n; t++) {
                const auto row = size_t(s.n_tokens);
                s.ids[row] = p.ids[t];  // read once: another thread may be writing to the caller's array
                if (s.ids[row] < 0 || s.ids[row] >= n_vocab_)
                    throw std::invalid_argument("token id " + std::to_string(s.ids[row]) + " at index " +
                                                std::to_string(t) + " is outside 0.." + std::to_string(n_vocab_ - 1));
                s.positions[row] = p.sequence->length() + t;
                s.piece_of[row] = int32_t(s.pieces.size() - 1);
                if (t >= p.n - p.n_outputs) s.output_rows[size_t(s.n_outputs++)] = s.n_tokens;
                s.n_tokens++;
            }
        }
        executor.run(s, poll);
    } catch (...) {
        for (const Piece& p : pieces) p.sequence->rewind(p.sequence->length());  // gives back the new pages
        throw;
    }
    for (size_t i = 0; i < pieces.size(); i++)
        pieces[i].sequence->advance(s.ids.data() + s.pieces[i].first_row, pieces[i].n);
    steps_++;
    tokens_ += s.n_tokens;
    largest_step_ = std::max(largest_step_, s.n_tokens);
    direct_steps_ += s.n_tokens <= kernels_.direct_tokens;
}

void Engine::step(const std::vector<Piece>& pieces, float* logits, const Poll& poll) {
    const Hold hold(*this, poll);
    run(*executor_, pieces, logits, poll);
}

std::vector<Drawn> Engine::step_and_sample(std::vector<Draw> draws, const Poll& poll) {
    int64_t n_guessed = 0;
    for (const Draw& d : draws) {
        if (d.sampler && d.sampler->n_vocab() != n_vocab_)
            throw std::invalid_argument("a sampler of " + std::to_string(d.sampler->n_vocab()) +
                                        " tokens, where the model has " + std::to_string(n_vocab_));
        if (d.n_guessed < 0 || d.n_guessed >= std::max<int64_t>(d.piece.n, 1) || (d.n_guessed > 0 && !d.sampler))
            throw std::invalid_argument("guesses need a sampler, and a token before them");
        n_guessed += d.n_guessed;
    }
    const Hold hold(*this, poll);
    const auto attempt = [&] {
        std::vector<Piece> pieces;
        int64_t n_outputs = 0;
        for (Draw& d : draws) {
            d.piece.n_outputs = d.sampler ? 1 + d.n_guessed : 0;
            n_outputs += d.piece.n_outputs;
            pieces.push_back(d.piece);
        }
        sampled_logits_.resize(std::max(sampled_logits_.size(), size_t(n_outputs * n_vocab_)));
        run(*executor_, pieces, sampled_logits_.data(), poll);
    };
    // A guess may take the page that memory does not have, or be what the model overflows on.
    const auto again = [&] {
        if (n_guessed == 0) throw;
        for (Draw& d : draws) d.piece.n -= std::exchange(d.n_guessed, 0);
        attempt();
    };
    try {
        attempt();
    } catch (const MemoryLimitError&) {
        again();
    } catch (const std::bad_alloc&) {
        again();
    } catch (const NumericsError&) {
        again();
    }
    std::vector<Drawn> drawn;
    const float* logits = sampled_logits_.data();
    try {
        for (size_t i = 0; i < draws.size(); i++) {
            drawn.push_back(draws[i].sampler ? draw(draws[i], state_.pieces[i], logits) : Drawn());
            logits += draws[i].piece.n_outputs * n_vocab_;
        }
    } catch (...) {
        for (size_t i = 0; i < draws.size(); i++) draws[i].piece.sequence->rewind(state_.pieces[i].first_position);
        throw;
    }
    return drawn;
}

Drawn Engine::draw(const Draw& from, const PieceState& state, const float* logits) {
    Sampler& sampler = *from.sampler;
    const int32_t* ids = state_.ids.data() + state.first_row;
    const int64_t n_certain = state.n_tokens - from.n_guessed;
    for (int64_t t = 0; t < n_certain; t++) sampler.accept(ids[t]);
    Drawn drawn;
    int64_t held = n_certain;  // of the piece's tokens those that stay
    for (int64_t at = n_certain;; at++) {
        try {
            drawn.ids.push_back(sampler.sample(logits, uint64_t(state.first_position + at)));
        } catch (const NumericsError& error) {
            if (drawn.ids.empty()) throw;
            drawn.error = error.what();  // for the caller to raise where the tokens before it have not ended the text
            held = at - 1;               // as a step that fails leaves it
            break;
        }
        if (const Logprobs* of_last = sampler.logprobs())
            drawn.logprobs.emplace_back(of_last->chosen(), of_last->top());
        held = at;
        if (at == state.n_tokens || drawn.ids.back() != ids[at]) break;
        sampler.accept(ids[at]);
        logits += n_vocab_;
    }
    from.piece.sequence->rewind(state.first_position + held);
    return drawn;
}

Engine::Capture::Capture(Engine& engine, PlanSpec plan, const std::vector<int>& kept)
    : engine_(engine), n_kept_(kept.size()), outputs_(false) {
    const Hold hold(engine);
    const FpEnvironment environment;
    if (plan.caches != engine.caches_) throw Error("plan: its caches are not those of the model");
    if (plan.logits < 0 || size_t(plan.logits) >= plan.values.size() ||
        plan.values[size_t(plan.logits)].width != engine.n_vocab_)
        throw Error("plan: its result is not that of the model");
    for (int id : kept)
        outputs_ |= id >= 0 && size_t(id) < plan.values.size() && plan.values[size_t(id)].rows == Rows::outputs;
    executor_ = std::make_unique<Executor>(std::move(plan), *engine.weights_, *engine.pages_, engine.kernels_,
                                           engine.threads_, engine.config_.max_tokens, engine.config_.context, kept);
}

void Engine::Capture::step(const Piece& piece, const std::vector<float*>& to, const Poll& poll) {
    if (to.size() != n_kept_) throw std::invalid_argument("a place is needed for each value");
    const Hold hold(engine_, poll);
    Piece wanted = piece;
    wanted.n_outputs = outputs_ ? wanted.n : 0;
    logits_.resize(std::max(logits_.size(), size_t(wanted.n_outputs * engine_.n_vocab_)));
    engine_.run(*executor_, {wanted}, logits_.data(), poll);
    for (size_t i = 0; i < n_kept_; i++) {
        const Executor::Matrix value = executor_->kept(i, engine_.state_);
        std::copy(value.data, value.data + value.rows * value.width, to[i]);
    }
}

std::vector<int64_t> Engine::items_by_thread() const {
    const Hold hold(*this);
    return executor_->items_by_thread();
}

void Engine::start_profile() {
    const Hold hold(*this);
    executor_->start_profile();
}

Profile Engine::stop_profile() {
    const Hold hold(*this);
    return executor_->stop_profile();
}

std::map<std::string, int64_t> Engine::counters() const {
    const Hold hold(*this);
    return {{"steps", steps_},
            {"tokens", tokens_},
            {"largest_step", largest_step_},
            {"direct_steps", direct_steps_},
            {"pages", int64_t(pages_->pages_in_use())},
            {"page_bytes", int64_t(pages_->page_bytes())},
            {"weight_bytes", int64_t(weights_->n_bytes())},
            {"arena_bytes", int64_t(executor_->arena_bytes())}};
}

}  // namespace pyruntime
