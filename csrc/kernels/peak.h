// The multiplier at its best: products of weights and activations that never leave the registers, added up. No product
// of a matrix can be faster, so the share that one reaches of it says how good the kernels are.
//   AVX-512 VNNI   vpdpbusd              64 products an instruction
//   AVX2           vpmaddubsw, vpaddw    32 products in two (widened to int32 only at the end: real sums pay for more)
//   NEON dotprod   sdot                  16 products an instruction
//   NEON i8mm      smmla                 32
#pragma once

namespace pyruntime {
namespace {

// A round is a step for each of kSums vectors of sums, enough of them to hide its latency. Returns how many products
// `sums` are of, which shows that they were made. GCC 12 makes the loop of the instructions above and three to count.
template <int kSums>
inline int64_t peak_loop(const uint8_t* w, const int8_t* x, int64_t rounds, int32_t* sums) {
    w8 weights = load_w8(w);
    const w8 columns = load_w8((const uint8_t*)x);
    i32x16 s[kSums];
#pragma GCC unroll 32
    for (int t = 0; t < kSums; t++) s[t] = set1_i32(0);
#pragma GCC unroll 1
    for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 32
        for (int t = 0; t < kSums; t++) {
            forget(weights);  // or one product would serve all sums
            s[t] = peak_step(s[t], weights, columns);
            forget(s[t]);  // or GCC copies it from one register to another and back
        }
    i32x16 total = set1_i32(0);
#pragma GCC unroll 32
    for (int t = 0; t < kSums; t++) total = add(total, peak_sums(s[t]));
    __builtin_memcpy(sums, &total, sizeof total);
    return rounds * kSums * int64_t(sizeof(w8)) * (kTokenPairs ? 2 : 1);
}

// Two shapes, so that neither's accidents are taken for the machine: as many sums as a tile of a matrix product, and
// half as many again.
inline int64_t int8_peak(int shape, const uint8_t* w, const int8_t* x, int64_t rounds, int32_t* sums) {
    static_assert(kPeakShapes == 2);
    return shape == 0 ? peak_loop<kFloatTile>(w, x, rounds, sums)
                      : peak_loop<kFloatTile + kFloatTile / 2>(w, x, rounds, sums);
}

}  // namespace
}  // namespace pyruntime
