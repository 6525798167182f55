#include "engine/kv_pages.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "engine/process.h"
#include "errors.h"

namespace pyruntime {

namespace {

size_t pages_for(int64_t positions) { return size_t((positions + kPageTokens - 1) / kPageTokens); }

// Room for n elements, at least doubled: a token at a time must not copy the whole each time.
template <class T>
void grow(std::vector<T>& v, size_t n) {
    if (n > v.capacity()) v.reserve(std::max(n, 2 * v.capacity()));
}

}  // namespace

PageLayout::PageLayout(const std::vector<CacheSpec>& specs, KVType type) {
    for (const CacheSpec& c : specs) {
        CacheLayout layout;
        layout.key_head_bytes = c.latent ? kv_row_bytes(type, c.head_dim) : kv_key_bytes(type, c.head_dim);
        layout.value_head_bytes = c.latent ? 0 : kv_row_bytes(type, c.value_dim);
        layout.key_offset = bytes;
        bytes += layout.key_head_bytes * size_t(c.n_kv_heads);
        layout.value_offset = c.latent ? layout.key_offset : bytes;
        bytes += layout.value_head_bytes * size_t(c.n_kv_heads);
        caches.push_back(layout);
    }
}

PagePool::PagePool(const std::vector<CacheSpec>& caches, KVType type, size_t max_bytes)
    : owner_(process_id()), type_(type), layout_(caches, type), max_bytes_(max_bytes) {}

size_t PagePool::pages_in_use() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return storage_.size() - free_.size();
}

uint8_t* PagePool::acquire() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
        if ((storage_.size() + 1) * layout_.bytes > max_bytes_)
            throw MemoryLimitError("the KV cache is full: " + std::to_string(storage_.size()) + " pages, " +
                                   megabytes(storage_.size() * layout_.bytes) + " of " + megabytes(max_bytes_) +
                                   "; close or rewind a session, or load the model with a smaller context");
        grow(free_, storage_.size() + 1);  // so that release never allocates
        storage_.push_back(allocate(kHeader + layout_.bytes, "a KV page"));
        // Zeros: scores are computed for all 64 keys of a page, and those of keys not seen then replaced.
        std::memset(storage_.back().get(), 0, kHeader + layout_.bytes);
        free_.push_back(storage_.back().get() + kHeader);
    }
    uint8_t* page = free_.back();
    free_.pop_back();
    references(page) = 1;
    return page;
}

void PagePool::share(uint8_t* page) {
    const std::lock_guard<std::mutex> lock(mutex_);
    references(page)++;
}

void PagePool::release(uint8_t* page) {
    // A forked child, whose garbage collector drops a session: a thread that it does not have may hold the mutex.
    if (owner_ != process_id()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--references(page) == 0) free_.push_back(page);
}

bool PagePool::shared(const uint8_t* page) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return references(page) > 1;
}

void Sequence::reserve(int64_t n) {
    const size_t had = pages_.size(), needed = pages_for(length() + n);
    grow(ids_, ids_.size() + size_t(n));
    grow(pages_, needed);
    try {
        while (pages_.size() < needed) pages_.push_back(pool_->acquire());
        if (length() % kPageTokens != 0 && n > 0) {
            uint8_t*& last = pages_[size_t(length() / kPageTokens)];
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

const uint8_t* Sequence::whole_page(int64_t index) const {
    if (index < 0 || index >= length() / kPageTokens)
        throw std::invalid_argument("page " + std::to_string(index) + " of " + std::to_string(length() / kPageTokens) +
                                    " whole ones");
    return pages_[size_t(index)];
}

void Sequence::append_page(const int32_t* ids, const uint8_t* bytes) {
    if (length() % kPageTokens != 0) throw std::invalid_argument("a page can only follow whole pages");
    reserve(kPageTokens);
    std::memcpy(pages_.back(), bytes, pool_->page_bytes());
    advance(ids, kPageTokens);
}

void Sequence::rewind(int64_t length) {
    ids_.resize(size_t(length));
    while (pages_.size() > pages_for(length)) {
        pool_->release(pages_.back());
        pages_.pop_back();
    }
}

std::unique_ptr<Sequence> Sequence::fork() const {
    auto copy = std::make_unique<Sequence>(pool_);
    copy->ids_ = ids_;
    const size_t n = pages_for(length());
    copy->pages_.reserve(n);
    for (size_t i = 0; i < n; i++) {
        pool_->share(pages_[i]);
        copy->pages_.push_back(pages_[i]);
    }
    return copy;
}

}  // namespace pyruntime
