// How long work is interrupted.
#pragma once
#include <chrono>
#include <cstddef>
#include <functional>

namespace pyruntime {

// Asked now and then during long work, by the calling thread alone; true means stop.
using Poll = std::function<bool()>;

// Told now and then how far long work is, by the calling thread alone.
using Progress = std::function<void(size_t done, size_t total)>;

constexpr auto kPollEvery = std::chrono::milliseconds(20);  // Ctrl-C has 100 ms, and an item may take 40 of them

}  // namespace pyruntime
