#include "gguf/cursor.h"

#include <algorithm>

#include "gguf/text.h"

namespace pyruntime::gguf {

namespace {

constexpr uint64_t kChunk = uint64_t{1} << 20;

}  // namespace

Cursor::Cursor(const OsFile& file)
    : file_(file),
      end_(std::min(file.size(), kMaxHeaderBytes)),
      buffer_(new char[std::min(end_, kChunk)]),
      capacity_(static_cast<size_t>(std::min(end_, kChunk))) {}

void Cursor::take_slowly(void* dst, uint64_t n) {
    check_fits(n, 1, "bytes", at_);
    for (char* out = static_cast<char*>(dst); n > 0;) {
        if (n_ready_ == 0) refill();
        const size_t part = static_cast<size_t>(std::min<uint64_t>(n, n_ready_));
        take_ready(out, part);
        out += part;
        n -= part;
    }
}

std::string Cursor::take_string(uint64_t max_bytes) {
    const uint64_t at = at_;
    const uint64_t n = take_count(1, "bytes of a string", max_bytes);
    std::string s(static_cast<size_t>(n), '\0');
    take_bytes(s.data(), n);
    if (!is_utf8(s)) fail(at, "the string is not valid UTF-8");
    return s;
}

uint64_t Cursor::take_count(uint64_t min_bytes, const char* items, uint64_t max) {
    const uint64_t at = at_;
    const uint64_t count = take<uint64_t>();
    check_fits(count, min_bytes, items, at);
    if (count > max)
        fail(at, std::to_string(count) + " " + items + ", where at most " + std::to_string(max) + " may be");
    return count;
}

uint64_t Cursor::take_string_count() {
    const uint64_t n = take_count(sizeof(uint64_t), "array elements", strings_left_);
    strings_left_ -= n;
    return n;
}

void Cursor::check_fits(uint64_t count, uint64_t min_bytes, const char* items, uint64_t at) const {
    if (count <= left() / min_bytes) return;  // a division, as the product could wrap
    const std::string whose = end_ == file_.size() ? "file; it was cut short or is damaged: download it again"
                                                   : std::to_string(end_ >> 20) + " MiB that a header may take";
    fail(at, std::to_string(count) + " " + items + " do not fit in the " + std::to_string(left()) +
                 " bytes left of the " + whose);
}

void Cursor::fail(uint64_t at, const std::string& problem) const { throw error_at(file_.path(), field_, at, problem); }

void Cursor::refill() {
    next_ = 0;
    n_ready_ = file_.read_at(at_, buffer_.get(), static_cast<size_t>(std::min<uint64_t>(capacity_, left())));
    if (n_ready_ == 0) fail(at_, "the file ends here: it was truncated while it was being read");
}

}  // namespace pyruntime::gguf
