#include "engine/kv_pages.h"

#include <cstring>

#include "errors.h"
#include "kernels/table.h"

namespace pyruntime {

namespace {

size_t pages_for(int64_t positions) { return size_t((positions + kPageTokens - 1) / kPageTokens); }

}  // namespace

PagePool::PagePool(const std::vector<CacheSpec>& caches, bool f16, size_t max_bytes)
    : f16_(f16), max_bytes_(max_bytes) {
    const size_t element = f16 ? 2 : 4;
    for (const CacheSpec& c : caches) {
        CacheLayout layout;
        layout.key_head_bytes = size_t(round_up(int64_t(element) * kPageTokens * c.head_dim, 64));
        layout.value_head_bytes = element * kPageTokens * size_t(round_up(c.head_dim, kLanes));
        layout.key_offset = page_bytes_;
        layout.value_offset = layout.key_offset + layout.key_head_bytes * size_t(c.n_kv_heads);
        page_bytes_ = layout.value_offset + layout.value_head_bytes * size_t(c.n_kv_heads);
        layouts_.push_back(layout);
    }
}

uint8_t* PagePool::acquire() {
    if (free_.empty()) {
        if ((storage_.size() + 1) * page_bytes_ > max_bytes_)
            throw MemoryLimitError("the KV cache is full: " + std::to_string(storage_.size()) + " pages, " +
                                   megabytes(storage_.size() * page_bytes_) + " of " + megabytes(max_bytes_) +
                                   "; close or rewind a session, or load the model with a smaller context");
        storage_.push_back(allocate(kHeader + page_bytes_, "a KV page"));
        // Zeros: an unseen key counts with weight 0, which is 0 only if its value is finite.
        std::memset(storage_.back().get(), 0, kHeader + page_bytes_);
        free_.push_back(storage_.back().get() + kHeader);
    }
    uint8_t* page = free_.back();
    free_.pop_back();
    references(page) = 1;
    return page;
}

void PagePool::share(uint8_t* page) { references(page)++; }

void PagePool::release(uint8_t* page) {
    if (--references(page) == 0) free_.push_back(page);
}

bool PagePool::shared(const uint8_t* page) const { return references(page) > 1; }

void Sequence::reserve(int64_t n) {
    const size_t had = pages_.size();
    try {
        while (pages_.size() < pages_for(length_ + n)) {
            pages_.reserve(pages_.size() + 1);
            pages_.push_back(pool_->acquire());
        }
        if (const int64_t filled = length_ % kPageTokens; filled != 0 && n > 0) {
            uint8_t*& last = pages_[size_t(length_ / kPageTokens)];
            if (pool_->shared(last)) {
                uint8_t* copy = pool_->acquire();
                std::memcpy(copy, last, pool_->page_bytes());
                pool_->release(last);
                last = copy;
            }
        }
    } catch (...) {
        while (pages_.size() > had) {
            pool_->release(pages_.back());
            pages_.pop_back();
        }
        throw;
    }
}

void Sequence::rewind(int64_t length) {
    length_ = length;
    while (pages_.size() > pages_for(length_)) {
        pool_->release(pages_.back());
        pages_.pop_back();
    }
}

std::unique_ptr<Sequence> Sequence::fork() const {
    auto copy = std::make_unique<Sequence>(pool_);
    copy->length_ = length_;
    copy->pages_.assign(pages_.begin(), pages_.begin() + std::ptrdiff_t(pages_for(length_)));
    for (uint8_t* page : copy->pages_) pool_->share(page);
    return copy;
}

}  // namespace pyruntime
