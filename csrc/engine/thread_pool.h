// A pool of its own: no OpenMP, which breaks over fork and between wheels. Workers sleep between jobs, but for a
// moment.
#pragma once
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "engine/barrier.h"

namespace pyruntime {

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
    // 100 us: from one token to the next, drawing it and Python take 30 to 80, and to wake a thread 30 to 50.
    static constexpr int kSpinsBetweenJobs = 4 * Barrier::kSpins;

    struct JobRef {
        void* job;
        void (*call)(void* job, int thread);
    };
    void start(JobRef job);
    void worker(int thread);
    void join();

    struct State {
        explicit State(int n_threads) : begin(n_threads, kSpinsBetweenJobs), end(n_threads) {}
        Barrier begin, end;
        JobRef job{};
        bool stop = false;
        std::vector<std::thread> workers;
    };

    const int n_threads_;
    const long owner_;  // process id
    std::unique_ptr<State> state_;
};

}  // namespace pyruntime
