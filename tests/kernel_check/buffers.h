// Memory that shows a kernel that reads or writes too far. Where there is mmap, a buffer ends where an unreadable page
// begins; under AddressSanitizer and elsewhere it ends where its heap block ends. So the last element is at the end of
// a page and the first one is aligned as its size happens to leave it: rows of odd lengths are misaligned.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "check.h"

#if (defined(__unix__) || defined(__APPLE__)) && !defined(__SANITIZE_ADDRESS__)
#define KERNEL_CHECK_GUARD_PAGES 1
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace kernel_check {

class Memory {
  public:
    explicit Memory(size_t bytes) {
#ifdef KERNEL_CHECK_GUARD_PAGES
        const size_t page = size_t(sysconf(_SC_PAGESIZE)), body = (bytes + page - 1) / page * page;
        size_ = body + page;
        base_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base_ == MAP_FAILED) throw std::bad_alloc();
        mprotect(static_cast<uint8_t*>(base_) + body, page, PROT_NONE);
#else
        const size_t body = (bytes + 63) / 64 * 64;
        base_ = ::operator new(body, std::align_val_t(64));
        std::memset(base_, 0, body);
#endif
        data_ = static_cast<uint8_t*>(base_) + body - bytes;
    }
    ~Memory() {
        if (!base_) return;
#ifdef KERNEL_CHECK_GUARD_PAGES
        munmap(base_, size_);
#else
        ::operator delete(base_, std::align_val_t(64));
#endif
    }
    Memory(Memory&& other) noexcept
        : base_(std::exchange(other.base_, nullptr)), size_(other.size_), data_(other.data_) {}
    Memory& operator=(Memory&&) = delete;
    uint8_t* data() const { return data_; }

  private:
    void* base_;
    size_t size_ = 0;
    uint8_t* data_;
};

// n values, zeros at first; for inputs and scratch.
template <class T>
class Array {
  public:
    explicit Array(size_t n) : memory_(n * sizeof(T)), n_(n) {}
    T* data() const { return reinterpret_cast<T*>(memory_.data()); }
    T& operator[](size_t i) const { return data()[i]; }
    size_t size() const { return n_; }
    void fill_bytes(uint8_t byte) { std::memset(memory_.data(), byte, n_ * sizeof(T)); }

  private:
    Memory memory_;
    size_t n_;
};

constexpr uint8_t kCanary = 0xa5;

// n values between two strips of canaries; for outputs.
template <class T>
class Output {
  public:
    explicit Output(size_t n) : memory_(2 * kStrip + n * sizeof(T)), n_(n) {
        std::memset(memory_.data(), kCanary, 2 * kStrip + n * sizeof(T));
    }
    T* data() const { return reinterpret_cast<T*>(memory_.data() + kStrip); }
    T& operator[](size_t i) const { return data()[i]; }
    size_t size() const { return n_; }

    void check_strips(Run& run, const char* what) const {
        const uint8_t *before = memory_.data(), *after = before + kStrip + n_ * sizeof(T);
        for (size_t i = 0; i < kStrip; i++) {
            run.require(before[i] == kCanary, std::string(what) + ": written to before its first element");
            run.require(after[i] == kCanary, std::string(what) + ": written to past its last element");
        }
    }

  private:
    static constexpr size_t kStrip = 128;
    Memory memory_;
    size_t n_;
};

}  // namespace kernel_check
