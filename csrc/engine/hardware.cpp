#include "engine/hardware.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "engine/barrier.h"
#include "engine/memory.h"
#include "engine/thread_pool.h"
#include "errors.h"

namespace pyruntime {

namespace {

using Clock = std::chrono::steady_clock;

// Many short runs rather than a few long ones: with 13 processes on 2 cores a run of 10 ms is never left alone, and a
// product of 2 ms then beat the best of twenty of them. The clock is read to a fraction of a microsecond.
constexpr int kRuns = 100;
constexpr double kRunSeconds = 0.001;  // at least
// On a busy machine a hundred runs take seconds.
constexpr int kFewestRuns = 10;
constexpr auto kPatience = std::chrono::milliseconds(300);
constexpr size_t kCacheLine = 64;
constexpr size_t kSlice = size_t(256) << 10;
constexpr size_t kSlicesAtOnce = 16;  // 4 MB a thread, which take some 2 ms to be written first
constexpr int64_t kRounds = 1024;     // of the loop of kernels/peak.h, at a time: a few microseconds

// Whether it is time to stop. Asks now and then: each time takes Python's lock.
class Interruptible {
  public:
    explicit Interruptible(const Poll& poll) : poll_(poll) {}
    bool stop() {
        if (stop_ || !poll_ || Clock::now() - asked_ < kPollEvery) return stop_;
        stop_ = poll_();
        asked_ = Clock::now();
        return stop_;
    }
    void check() {
        if (stop()) throw Interrupted();
    }

  private:
    const Poll& poll_;
    Clock::time_point asked_ = Clock::now();
    bool stop_ = false;
};

// What one thread does in a run, a cache line each.
struct alignas(kCacheLine) Share {
    Clock::time_point begin, end;
    int64_t done = 0;
    uint64_t sum = 0;  // what was computed, for the compiler to compute it
    size_t at = 0;     // the slice that is read next
};

// Units a second: from when the last thread was ready to when the last one had ended.
struct Run {
    explicit Run(const std::vector<Share>& shares) {
        Clock::time_point begin = shares[0].begin, end = shares[0].end;
        int64_t done = 0;
        for (const Share& share : shares) {
            begin = std::max(begin, share.begin);
            end = std::max(end, share.end);
            done += share.done;
        }
        seconds = std::chrono::duration<double>(end - begin).count();
        rate = double(done) / seconds;
    }
    double seconds, rate;
};

// The best rate of `kRuns` runs of work(thread, times, share), which does something `times` times and says in
// share.done how much that was. The threads stay awake from run to run: those that are woken on a busy machine are put
// on the processor of the one that wakes them, and take turns.
template <class Work>
double best_rate(ThreadPool& threads, Interruptible& caller, const Work& work) {
    std::vector<Share> shares(size_t(threads.size()));
    Barrier barrier(threads.size());
    const auto meet = [&] { barrier.wait(); };
    double best = 0;
    int64_t times = 1;
    bool over = false;
    const Clock::time_point deadline = Clock::now() + kPatience;
    threads.run([&](int thread) {
        Share& share = shares[size_t(thread)];
        for (int runs = 0; !over;) {
            share.begin = Clock::now();
            meet();
            work(thread, times, share);
            share.end = Clock::now();
            meet();
            if (thread == 0) {
                const Run run(shares);
                if (run.seconds < kRunSeconds) {
                    times *= 2;  // and what was too short to count has warmed up
                } else {
                    best = std::max(best, run.rate);
                    runs++;
                }
                const bool enough = runs == kRuns || (runs >= kFewestRuns && Clock::now() > deadline);
                over = enough || caller.stop();
            }
            meet();
        }
    });
    caller.check();
    return best;
}

// Two words: what every processor loads at once. Compilers leave wider sums in memory.
using Vector [[gnu::vector_size(16), gnu::may_alias]] = uint64_t;

// The sum of a slice, read as `kStreams` streams side by side.
template <int kStreams>
uint64_t sum_slice(const uint8_t* data) {
    constexpr size_t kVectors = kCacheLine / sizeof(Vector), kStream = kSlice / sizeof(Vector) / kStreams;
    const Vector* from = reinterpret_cast<const Vector*>(data);
    Vector sums[kStreams][kVectors] = {};
    for (size_t i = 0; i < kStream; i += kVectors)
#pragma GCC unroll 4
        for (size_t s = 0; s < kStreams; s++)
#pragma GCC unroll 4
            for (size_t v = 0; v < kVectors; v++) sums[s][v] += from[s * kStream + i + v];
    Vector sum = {};
    for (const auto& stream : sums)
        for (const Vector v : stream) sum += v;
    return sum[0] + sum[1];
}

}  // namespace

double memory_bandwidth(int n_threads, size_t n_bytes, const Poll& poll) {
    ThreadPool threads(n_threads);
    Interruptible caller(poll);
    // Each thread goes round and round in slices of its own: when it comes back to one, the caches have lost it.
    const size_t n_slices = std::max<size_t>(1, n_bytes / kSlice / size_t(n_threads));
    const AlignedBytes data = allocate(n_slices * size_t(n_threads) * kSlice, "the buffer that is read");
    const auto slice_of = [&](int thread, size_t i) { return data.get() + (size_t(thread) * n_slices + i) * kSlice; };
    // Filled by the threads that read it: memory lies near the processor that first writes to it.
    for (size_t first = 0; first < n_slices; first += kSlicesAtOnce) {
        caller.check();
        const size_t n = std::min(kSlicesAtOnce, n_slices - first);
        threads.run([&](int thread) { std::memset(slice_of(thread, first), 1, n * kSlice); });
    }
    const auto read_with = [&](uint64_t (*sum)(const uint8_t*)) {
        return best_rate(threads, caller, [&](int thread, int64_t times, Share& share) {
            for (int64_t i = 0; i < times; i++, share.at = (share.at + 1) % n_slices)
                share.sum += sum(slice_of(thread, share.at));
            share.done = times * int64_t(kSlice);
        });
    };
    return std::max(read_with(sum_slice<1>), read_with(sum_slice<2>));
}

double int8_peak(const KernelTable& kernels, int n_threads, const Poll& poll) {
    ThreadPool threads(n_threads);
    Interruptible caller(poll);
    uint8_t w[kLanes * 4];
    int8_t x[kLanes * 4];
    for (int i = 0; i < kLanes * 4; i++) {
        w[i] = uint8_t(i * 7 % 16);
        x[i] = int8_t(i % 4 * 53 - 77);
    }
    double best = 0;
    for (int shape = 0; shape < kPeakShapes; shape++)
        best = std::max(best, best_rate(threads, caller, [&](int, int64_t times, Share& share) {
                            int32_t sums[kLanes];
                            share.done = 2 * kernels.int8_peak(shape, w, x, times * kRounds, sums);
                            for (const int32_t sum : sums) share.sum += uint64_t(sum);
                        }));
    return best;
}

}  // namespace pyruntime
