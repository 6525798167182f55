// Memory that is read next, asked for bit by bit while something else is computed: a burst would keep the loads of that
// waiting. Asked for is the second-level cache.
#pragma once

namespace pyruntime {
namespace {

struct Ahead {
    // n_bytes from `at` on, in so many calls of ask().
    Ahead(const uint8_t* from, int64_t n_bytes, int64_t calls)
        : at(from), bytes(calls > 0 ? (n_bytes / calls + 63) / 64 * 64 : 0) {}
    void ask() {
        for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, 0, 2);
        at += bytes;
    }
    const uint8_t* at;
    int64_t bytes;  // of a call
};

}  // namespace
}  // namespace pyruntime
