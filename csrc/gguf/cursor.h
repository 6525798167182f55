// Goes through the header of a file from front to back. Nothing is taken, and nothing allocated, before the file has
// been found to hold it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "gguf/os_file.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF is read as little-endian memory: a big-endian machine needs byte swaps in Cursor::take and take_array"
#endif

namespace pyruntime::gguf {

// Four times the header of a 260k vocabulary with 500k merges. With the limits of header.cpp on what takes more memory
// than bytes of the file, it bounds what a hostile one can make us allocate to some 300 MB.
constexpr uint64_t kMaxHeaderBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxStrings = uint64_t{1} << 22;  // in all arrays together

class Cursor {
  public:
    explicit Cursor(const OsFile& file);

    // What the bytes that follow belong to, for messages.
    void enter(std::string field) { field_ = std::move(field); }

    uint64_t at() const { return at_; }
    uint64_t left() const { return end_ - at_; }

    template <typename T>
    T take() {
        static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);  // a bool may only be made of 0 or 1
        T value;
        take_bytes(&value, sizeof(T));
        return value;
    }
    void take_bytes(void* dst, uint64_t n) {
        if (n <= n_ready_)
            take_ready(dst, static_cast<size_t>(n));  // what is in the buffer is in the file
        else
            take_slowly(dst, n);
    }
    std::string take_string(uint64_t max_bytes = kMaxHeaderBytes);  // length and bytes, valid UTF-8

    // A count, refused if that many items of at least `min_bytes` each cannot follow, or if it is above `max`.
    uint64_t take_count(uint64_t min_bytes, const char* items, uint64_t max = UINT64_MAX);
    uint64_t take_string_count();  // of an array of strings, of which there are at most kMaxStrings in a header
    void check_fits(uint64_t count, uint64_t min_bytes, const char* items, uint64_t at) const;

    [[noreturn]] void fail(uint64_t at, const std::string& problem) const;

  private:
    void take_ready(void* dst, size_t n) {
        std::memcpy(dst, buffer_.get() + next_, n);
        at_ += n;
        next_ += n;
        n_ready_ -= n;
    }
    void take_slowly(void* dst, uint64_t n);
    void refill();

    const OsFile& file_;
    std::string field_;
    uint64_t at_ = 0;
    uint64_t strings_left_ = kMaxStrings;
    uint64_t end_;                    // of the file, or of what a header may take
    std::unique_ptr<char[]> buffer_;  // bytes [at_, at_ + n_ready_) of the file, from buffer_ + next_
    size_t capacity_;
    size_t next_ = 0;
    size_t n_ready_ = 0;
};

}  // namespace pyruntime::gguf
