#include "engine/hardware.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "engine/memory.h"
#include "engine/thread_pool.h"
#include "errors.h"

namespace pyruntime {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRuns = 10;
constexpr double kRunSeconds = 0.01;  // at least: a clock is read to a microsecond, and threads start within ten
constexpr size_t kCacheLine = 64;
constexpr size_t kSlice = size_t(256) << 10;
constexpr size_t kSlicesBetweenPolls = 64;  // 16 MB a thread, which a slow machine writes in 20 ms
constexpr int64_t kRounds = 1024;           // of the loop of kernels/peak.h, at a time: a few microseconds

// What one thread has done, a cache line each.
struct alignas(kCacheLine) Share {
    Clock::time_point begin, end;
    int64_t done = 0;
    uint64_t sum = 0;  // what was computed, for the compiler to compute it
    size_t at = 0;     // the slice that is read next
};

// The best rate of `kRuns` runs of work(thread, times, share), which does something `times` times and counts it in
// share.done. A run is from when the last thread is ready to when the last one has ended.
template <class Work>
double best_rate(ThreadPool& threads, const Poll& poll, const Work& work) {
    std::vector<Share> shares(size_t(threads.size()));
    double seconds = 0;
    const auto rate = [&](int64_t times) {
        if (poll && poll()) throw Interrupted();
        SpinBarrier ready(threads.size());
        threads.run([&](int thread) {
            Share& share = shares[size_t(thread)];
            share.done = 0;
            share.begin = Clock::now();
            ready.wait([] {});
            work(thread, times, share);
            share.end = Clock::now();
        });
        Clock::time_point begin = shares[0].begin, end = shares[0].end;
        int64_t done = 0;
        for (const Share& share : shares) {
            begin = std::max(begin, share.begin);
            end = std::max(end, share.end);
            done += share.done;
        }
        seconds = std::chrono::duration<double>(end - begin).count();
        return double(done) / seconds;
    };
    int64_t times = 1;
    double best = rate(times);  // which warms up
    while (seconds < kRunSeconds) {
        times *= 2;
        rate(times);
    }
    best = 0;
    for (int run = 0; run < kRuns; run++) best = std::max(best, rate(times));
    return best;
}

// The sum of a slice, read as `kStreams` streams side by side.
template <int kStreams>
uint64_t sum_slice(const uint8_t* data) {
    constexpr size_t kLines = kSlice / kCacheLine / kStreams, kWords = kCacheLine / sizeof(uint64_t);
    uint64_t sums[kStreams][kWords] = {};
    for (size_t i = 0; i < kLines; i++)
        for (size_t s = 0; s < kStreams; s++) {
            uint64_t line[kWords];
            std::memcpy(line, data + (s * kLines + i) * kCacheLine, kCacheLine);
            for (size_t w = 0; w < kWords; w++) sums[s][w] += line[w];
        }
    uint64_t sum = 0;
    for (const auto& stream : sums)
        for (const uint64_t word : stream) sum += word;
    return sum;
}

}  // namespace

double memory_bandwidth(int n_threads, size_t n_bytes, const Poll& poll) {
    ThreadPool threads(n_threads);
    // Each thread goes round and round in slices of its own: when it comes back to one, the caches have lost it.
    const size_t n_slices = std::max<size_t>(1, n_bytes / kSlice / size_t(n_threads));
    const AlignedBytes data = allocate(n_slices * size_t(n_threads) * kSlice, "the buffer that is read");
    const auto slice_of = [&](int thread, size_t i) { return data.get() + (size_t(thread) * n_slices + i) * kSlice; };
    // Filled by the threads that read it: memory lies near the processor that first writes to it.
    for (size_t first = 0; first < n_slices; first += kSlicesBetweenPolls) {
        if (poll && poll()) throw Interrupted();
        const size_t n = std::min(kSlicesBetweenPolls, n_slices - first);
        threads.run([&](int thread) { std::memset(slice_of(thread, first), 1, n * kSlice); });
    }
    const auto read_with = [&](uint64_t (*sum)(const uint8_t*)) {
        return best_rate(threads, poll, [&](int thread, int64_t times, Share& share) {
            for (int64_t i = 0; i < times; i++, share.at = (share.at + 1) % n_slices)
                share.sum += sum(slice_of(thread, share.at));
            share.done = times * int64_t(kSlice);
        });
    };
    return std::max(read_with(sum_slice<1>), read_with(sum_slice<4>));
}

double int8_peak(const KernelTable& kernels, int n_threads, const Poll& poll) {
    ThreadPool threads(n_threads);
    uint8_t w[kLanes * 4];
    int8_t x[kLanes * 4];
    for (int i = 0; i < kLanes * 4; i++) {
        w[i] = uint8_t(i * 7 % 16);
        x[i] = int8_t(i % 4 * 53 - 77);
    }
    double best = 0;
    for (int shape = 0; shape < kPeakShapes; shape++)
        best = std::max(best, best_rate(threads, poll, [&](int, int64_t times, Share& share) {
                            int32_t sums[kLanes];
                            share.done = 2 * kernels.int8_peak(shape, w, x, times * kRounds, sums);
                            for (const int32_t sum : sums) share.sum += uint64_t(sum);
                        }));
    return best;
}

}  // namespace pyruntime
