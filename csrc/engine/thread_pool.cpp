#include "engine/thread_pool.h"

#include <string>
#include <system_error>

#include "dispatch/fp_env.h"
#include "engine/process.h"
#include "errors.h"

namespace pyruntime {

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads), owner_(process_id()), state_(std::make_unique<State>()) {
    try {
        for (int t = 1; t < n_threads; t++) state_->workers.emplace_back([this, t] { worker(t); });
    } catch (const std::system_error& e) {
        join();
        throw Error("the system gives " + std::to_string(state_->workers.size() + 1) + " threads of " +
                    std::to_string(n_threads) + " (" + e.what() + "); load the model with fewer threads");
    } catch (...) {  // bad_alloc: a std::thread that is destroyed before it is joined ends the process
        join();
        throw;
    }
}

ThreadPool::~ThreadPool() {
    if (owner_ != process_id()) {
        // A forked child: there is nobody to join, and destroying a condition variable would wait for its sleepers
        // forever.
        static_cast<void>(state_.release());
        return;
    }
    join();
}

void ThreadPool::join() {
    {
        const std::lock_guard<std::mutex> lock(state_->mutex);
        state_->stop = true;
    }
    state_->wake.notify_all();
    for (std::thread& w : state_->workers) w.join();
}

void ThreadPool::require_owner() const {
    if (owner_ != process_id())
        throw Error("this model was loaded before a fork; its threads do not exist in the child: load it there");
}

void ThreadPool::start(JobRef job) {
    require_owner();
    const FpEnvironment environment;
    if (n_threads_ > 1) {
        {
            const std::lock_guard<std::mutex> lock(state_->mutex);
            state_->job = job;
            state_->running = n_threads_ - 1;
            state_->generation++;
        }
        state_->wake.notify_all();
    }
    job.call(job.job, 0);
    if (n_threads_ > 1) {
        std::unique_lock<std::mutex> lock(state_->mutex);
        state_->done.wait(lock, [this] { return state_->running == 0; });
    }
}

void ThreadPool::worker(int thread) {
    const FpEnvironment environment;
    State& s = *state_;
    unsigned seen = 0;
    for (;;) {
        JobRef job;
        {
            std::unique_lock<std::mutex> lock(s.mutex);
            s.wake.wait(lock, [&] { return s.stop || s.generation != seen; });
            if (s.stop) return;
            seen = s.generation;
            job = s.job;
        }
        job.call(job.job, thread);
        {
            const std::lock_guard<std::mutex> lock(s.mutex);
            if (--s.running == 0) s.done.notify_one();
        }
    }
}

}  // namespace pyruntime
