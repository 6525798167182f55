#include "engine/thread_pool.h"

#include <string>
#include <system_error>

#include "dispatch/fp_env.h"
#include "engine/process.h"
#include "errors.h"

namespace pyruntime {

ThreadPool::ThreadPool(int n_threads)
    : n_threads_(n_threads), owner_(process_id()), state_(std::make_unique<State>(n_threads)) {
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
    state_->stop = true;
    for (int t = int(state_->workers.size()); t < n_threads_; t++)
        state_->begin.arrive();  // this one, and who is missing
    for (std::thread& w : state_->workers) w.join();
}

void ThreadPool::require_owner() const {
    if (owner_ != process_id())
        throw Error("this model was loaded before a fork; its threads do not exist in the child: load it there");
}

void ThreadPool::start(JobRef job) {
    require_owner();
    const FpEnvironment environment;
    if (n_threads_ == 1) return job.call(job.job, 0);
    state_->job = job;
    state_->begin.wait();
    job.call(job.job, 0);
    state_->end.wait();
}

void ThreadPool::worker(int thread) {
    const FpEnvironment environment;
    State& s = *state_;
    for (;;) {
        s.begin.wait();
        if (s.stop) return;
        s.job.call(s.job.job, thread);
        s.end.wait();
    }
}

}  // namespace pyruntime
