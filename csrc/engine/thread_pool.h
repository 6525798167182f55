// A pool of its own: no OpenMP, which breaks over fork and between wheels. Workers sleep between jobs and spin only
// inside one, at barriers a few hundred nanoseconds apart (a layer has ten of them).
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace pyruntime {

// Tells the processor that this is a spin loop.
void cpu_relax();

// All threads of a job meet here. Spins, and yields after a while, so that more threads than cores still make progress.
class SpinBarrier {
  public:
    explicit SpinBarrier(int n_threads) : n_threads_(n_threads) {}
    template <class WhileWaiting>
    void wait(WhileWaiting while_waiting) {
        const unsigned generation = generation_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_threads_) {
            arrived_.store(0, std::memory_order_relaxed);
            generation_.fetch_add(1, std::memory_order_release);
            return;
        }
        for (int spins = 0; generation_.load(std::memory_order_acquire) == generation; spins++) {
            if (spins < 4000) {
                cpu_relax();
            } else {
                std::this_thread::yield();
                while_waiting();
            }
        }
    }

  private:
    const int n_threads_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> generation_{0};
};

class ThreadPool {
  public:
    explicit ThreadPool(int n_threads);  // Error if the system does not give so many
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int size() const { return n_threads_; }
    void require_owner() const;  // Error in a forked child, whose workers do not exist

    // Runs job(thread) on every thread with the floating-point state of the contract, the caller being thread 0, and
    // returns when all have ended. One job at a time. Jobs must not throw. Throws Error in a forked child, whose
    // workers do not exist.
    template <class Job>
    void run(Job&& job) {
        start({&job, [](void* j, int thread) { (*static_cast<std::remove_reference_t<Job>*>(j))(thread); }});
    }

  private:
    struct JobRef {
        void* job;
        void (*call)(void* job, int thread);
    };
    void start(JobRef job);
    void worker(int thread);
    void join();

    struct State {
        std::mutex mutex;
        std::condition_variable wake, done;
        JobRef job{};
        unsigned generation = 0;
        int running = 0;
        bool stop = false;
        std::vector<std::thread> workers;
    };

    const int n_threads_;
    const long owner_;  // process id
    std::unique_ptr<State> state_;
};

}  // namespace pyruntime
