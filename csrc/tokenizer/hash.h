// SipHash-1-3 (Aumasson, Bernstein: https://www.aumasson.jp/siphash/siphash.pdf), keyed anew in each process: nobody
// can write a vocabulary whose tokens all fall into one place of a table.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace pyruntime::tokenizer {

struct HashKey {
    uint64_t first, second;
};

inline const HashKey& hash_key() {
    static const HashKey key = [] {
        std::random_device random;
        const auto draw = [&] { return uint64_t(random()) << 32 | random(); };
        return HashKey{draw(), draw()};
    }();
    return key;
}

inline uint64_t hash(std::string_view s) {
    const HashKey& key = hash_key();
    uint64_t v0 = key.first ^ 0x736f6d6570736575, v1 = key.second ^ 0x646f72616e646f6d;
    uint64_t v2 = key.first ^ 0x6c7967656e657261, v3 = key.second ^ 0x7465646279746573;
    const auto rotate = [](uint64_t x, int n) { return x << n | x >> (64 - n); };
    const auto round = [&] {
        v0 += v1, v2 += v3;
        v1 = rotate(v1, 13) ^ v0, v3 = rotate(v3, 16) ^ v2;
        v0 = rotate(v0, 32);
        v2 += v1, v0 += v3;
        v1 = rotate(v1, 17) ^ v2, v3 = rotate(v3, 21) ^ v0;
        v2 = rotate(v2, 32);
    };
    const auto take = [&](uint64_t word) {
        v3 ^= word;
        round();
        v0 ^= word;
    };
    const size_t n = s.size();
    for (; s.size() >= 8; s.remove_prefix(8)) {
        uint64_t word;
        std::memcpy(&word, s.data(), 8);
        take(word);
    }
    uint64_t last = uint64_t(n) << 56;
    for (size_t i = 0; i < s.size(); i++) last |= uint64_t(uint8_t(s[i])) << 8 * i;
    take(last);
    v2 ^= 0xff;
    for (int i = 0; i < 3; i++) round();
    return v0 ^ v1 ^ v2 ^ v3;
}

// Slots of a table of n entries that is searched linearly: a power of two, at most three quarters of them taken.
inline size_t slots_for(size_t n) {
    size_t slots = 2;
    while (3 * slots < 4 * n) slots *= 2;
    return slots;
}

}  // namespace pyruntime::tokenizer
