// The KV cache: a pool of pages of 64 positions, counted by reference. A sequence is a list of pages; forking, rolling
// back and sharing a prefix are list operations, and a page that is shared and partly filled is copied before it is
// written.
//
// A page holds all layers: for each cache (a layer) the keys of each kv head, then the values of each (kv_layout.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/memory.h"
#include "kernels/kv_layout.h"

namespace pyruntime {

struct CacheSpec {
    int n_kv_heads = 0, head_dim = 0, value_dim = 0;
    bool latent = false;  // one row of head_dim, of which the first value_dim are the value as well
    bool operator==(const CacheSpec& o) const {
        return n_kv_heads == o.n_kv_heads && head_dim == o.head_dim && value_dim == o.value_dim && latent == o.latent;
    }
};

struct CacheLayout {
    size_t key_offset, value_offset;  // of the first head, in a page
    size_t key_head_bytes, value_head_bytes;
};

struct PageLayout {
    PageLayout(const std::vector<CacheSpec>& specs, KVType type);
    std::vector<CacheLayout> caches;
    size_t bytes = 0;
};

// Safe from several threads: a sequence may be dropped by any of them, while another runs a step. It never waits for a
// step.
class PagePool {
  public:
    // Refuses (MemoryLimitError) to hold more than max_bytes.
    PagePool(const std::vector<CacheSpec>& caches, KVType type, size_t max_bytes);

    size_t page_bytes() const { return layout_.bytes; }
    size_t pages_in_use() const;
    KVType type() const { return type_; }
    const CacheLayout& layout(int cache) const { return layout_.caches[size_t(cache)]; }

    uint8_t* acquire();           // one reference; contents undefined
    void share(uint8_t* page);    // one more
    void release(uint8_t* page);  // one less; the last returns it to the pool
    bool shared(const uint8_t* page) const;

  private:
    static constexpr size_t kHeader = 64;  // the reference count, on a cache line of its own in front of the page
    static int64_t& references(const uint8_t* page) {
        return *reinterpret_cast<int64_t*>(const_cast<uint8_t*>(page) - kHeader);
    }

    const long owner_;  // process id
    const KVType type_;
    const PageLayout layout_;
    const size_t max_bytes_;
    mutable std::mutex mutex_;  // of what follows, and the reference counts
    std::vector<AlignedBytes> storage_;
    std::vector<uint8_t*> free_;
};

// The tokens of one conversation and their pages. All but the destructor needs the engine's mutex.
class Sequence {
  public:
    explicit Sequence(std::shared_ptr<PagePool> pool) : pool_(std::move(pool)) {}
    ~Sequence() { clear(); }
    Sequence(const Sequence&) = delete;
    Sequence& operator=(const Sequence&) = delete;

    int64_t length() const { return int64_t(ids_.size()); }
    const std::vector<int32_t>& ids() const { return ids_; }
    uint8_t* const* pages() const { return pages_.data(); }

    // Makes the pages of the next n positions writable: allocates, and copies a shared page that is partly filled. If
    // memory runs out (MemoryLimitError, bad_alloc) nothing has changed.
    void reserve(int64_t n);
    // After reserve(n); does not throw.
    void advance(const int32_t* ids, int64_t n) { ids_.insert(ids_.end(), ids, ids + n); }
    // The bytes of a page, all of whose positions are held; and a page with these ids after as many whole pages. Both
    // throw std::invalid_argument for an index or a length that is not so.
    const uint8_t* whole_page(int64_t index) const;
    void append_page(const int32_t* ids, const uint8_t* bytes);
    void rewind(int64_t length);  // to at most the present length
    void clear() { rewind(0); }
    std::unique_ptr<Sequence> fork() const;

  private:
    std::shared_ptr<PagePool> pool_;
    std::vector<uint8_t*> pages_;
    std::vector<int32_t> ids_;
};

}  // namespace pyruntime
