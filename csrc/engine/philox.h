// Philox4x32-10, a counter-based generator: a draw is a pure function of (key, counter), with no state to carry along.
// Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC11).
#pragma once
#include <array>
#include <cstdint>

namespace pyruntime {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

inline PhiloxCounter philox4x32_10(PhiloxCounter c, PhiloxKey key) {
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = uint64_t{0xD2511F53} * c[0];
        const uint64_t b = uint64_t{0xCD9E8D57} * c[2];
        c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
             static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return c;
}

enum class Purpose : uint32_t { draw = 0, xtc = 1 };  // what a token needs random bits for

// 64 uniform bits for the token at `position` of `stream`.
inline uint64_t random_bits(uint64_t seed, uint32_t stream, uint64_t position, Purpose purpose = Purpose::draw) {
    const PhiloxKey key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    const PhiloxCounter x = philox4x32_10({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                                           stream, static_cast<uint32_t>(purpose)},
                                          key);
    return uint64_t{x[0]} << 32 | x[1];
}

// floor(bits * total / 2^64): `bits` scaled to [0, total). Each sum below fits 64 bits.
inline uint64_t scale_bits(uint64_t bits, uint64_t total) {
    const uint64_t mask = 0xFFFFFFFF;
    const uint64_t a = bits >> 32, b = bits & mask, c = total >> 32, d = total & mask;
    const uint64_t middle = a * d + (b * d >> 32);
    return a * c + (middle >> 32) + (((middle & mask) + b * c) >> 32);
}

}  // namespace pyruntime
