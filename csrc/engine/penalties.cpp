#include "engine/penalties.h"

#include <algorithm>
#include <limits>

namespace pyruntime {

History::History(int32_t n_vocab, int32_t last_n)
    : last_n_(last_n),
      ring_(static_cast<size_t>(std::max(last_n, 0)), -1),
      counts_(static_cast<size_t>(n_vocab)),
      slot_(static_cast<size_t>(n_vocab)) {
    distinct_.reserve(static_cast<size_t>(last_n < 0 ? n_vocab : std::min(n_vocab, last_n)));
}

void History::push(int32_t id) {
    if (last_n_ == 0) return;
    if (last_n_ > 0) {
        int32_t& oldest = ring_[next_];  // -1: not yet written
        if (oldest >= 0) remove(oldest);
        oldest = id;
        next_ = (next_ + 1) % ring_.size();
    }
    const auto i = static_cast<size_t>(id);
    if (counts_[i]++ == 0) {
        slot_[i] = static_cast<uint32_t>(distinct_.size());
        distinct_.push_back(id);
    }
}

void History::remove(int32_t id) {
    const auto i = static_cast<size_t>(id);
    if (--counts_[i] > 0) return;
    const int32_t last = distinct_.back();
    distinct_[slot_[i]] = last;
    slot_[static_cast<size_t>(last)] = slot_[i];
    distinct_.pop_back();
}

void History::clear() {
    for (const int32_t id : distinct_) counts_[static_cast<size_t>(id)] = 0;
    distinct_.clear();
    std::fill(ring_.begin(), ring_.end(), -1);
    next_ = 0;
}

Dry::Dry(const SamplingParams& params, int32_t n_vocab)
    : on_(true),
      allowed_(static_cast<size_t>(params.dry_allowed_length)),
      last_n_(params.dry_penalty_last_n < 0 ? std::numeric_limits<size_t>::max()
                                            : static_cast<size_t>(params.dry_penalty_last_n)),
      base_(params.dry_base),
      is_break_(static_cast<size_t>(n_vocab)),
      longest_(static_cast<size_t>(n_vocab)),
      powers_{params.dry_multiplier} {
    for (const std::vector<int32_t>& breaker : params.dry_breakers) {
        if (breaker.size() == 1)
            is_break_[static_cast<size_t>(breaker[0])] = true;
        else
            breakers_[breaker.back()].push_back(breaker);
    }
}

void Dry::push(int32_t id) {
    if (!on_) return;
    ids_.push_back(id);
    if (ends_breaker()) broken_ = ids_.size();
}

void Dry::clear() {
    ids_.clear();
    broken_ = 0;
}

bool Dry::ends_breaker() const {
    if (is_break_[static_cast<size_t>(ids_.back())]) return true;
    const auto found = breakers_.find(ids_.back());
    if (found == breakers_.end()) return false;
    return std::any_of(found->second.begin(), found->second.end(), [this](const std::vector<int32_t>& breaker) {
        return breaker.size() <= ids_.size() && std::equal(breaker.rbegin(), breaker.rend(), ids_.rbegin());
    });
}

// Lengths stay below a sum that would take a logit to infinity: 2^100 is less than half a step of the largest float.
float Dry::penalty(size_t length) {
    const size_t power = length - allowed_;
    while (powers_.size() <= power) powers_.push_back(std::min(powers_.back() * base_, 0x1p100));
    return static_cast<float>(std::min(powers_[power], 0x1p100));
}

void Dry::penalize(float* logits) {
    const size_t n = std::min(last_n_, ids_.size()), limit = std::min(n, ids_.size() - broken_);
    if (!on_ || limit < allowed_) return;
    // Gusfield's Z algorithm on the ids backwards: match_[i] ids before the end equal those before i ids before the
    // end.
    const auto id = [this](size_t i) { return ids_[ids_.size() - 1 - i]; };
    match_.resize(std::max(match_.size(), n));
    for (size_t i = 1, begin = 0, end = 0; i < n; ++i) {  // [begin, end): the match that reaches furthest
        size_t length = i < end ? std::min<size_t>(end - i, match_[i - begin]) : 0;
        while (i + length < n && id(length) == id(i + length)) ++length;
        match_[i] = static_cast<uint32_t>(length);
        if (i + length > end) begin = i, end = i + length;
        length = std::min(length, limit);
        if (length < allowed_) continue;
        uint32_t& longest = longest_[static_cast<size_t>(id(i - 1))];
        if (longest == 0) repeated_.push_back(id(i - 1));
        longest = std::max(longest, static_cast<uint32_t>(length));
    }
    for (const int32_t token : repeated_) {
        const auto i = static_cast<size_t>(token);
        if (!is_break_[i]) logits[i] -= penalty(longest_[i]);
        longest_[i] = 0;
    }
    repeated_.clear();
}

}  // namespace pyruntime
