#include "engine/thread_pool.h"

#ifdef _WIN32
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "dispatch/fp_env.h"
#include "errors.h"

namespace pyruntime {

void cpu_relax() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads), owner_(long(getpid())) {
    for (int t = 1; t < n_threads; t++) workers_.emplace_back([this, t] { worker(t); });
}

ThreadPool::~ThreadPool() {
    if (owner_ != long(getpid())) {  // a forked child: there is nobody to join
        for (std::thread& w : workers_) w.detach();
        return;
    }
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& w : workers_) w.join();
}

void ThreadPool::start(JobRef job) {
    if (owner_ != long(getpid()))
        throw Error("this model was loaded before a fork; its threads do not exist in the child: load it there");
    const FpEnvironment environment;
    if (n_threads_ > 1) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            job_ = job;
            running_ = n_threads_ - 1;
            generation_++;
        }
        wake_.notify_all();
    }
    job.call(job.job, 0);
    if (n_threads_ > 1) {
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return running_ == 0; });
    }
}

void ThreadPool::worker(int thread) {
    const FpEnvironment environment;
    unsigned seen = 0;
    for (;;) {
        JobRef job;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
            if (stop_) return;
            seen = generation_;
            job = job_;
        }
        job.call(job.job, thread);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (--running_ == 0) done_.notify_one();
        }
    }
}

}  // namespace pyruntime
