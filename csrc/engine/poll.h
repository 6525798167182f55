// How long work is interrupted.
#pragma once
#include <chrono>
#include <functional>

namespace pyruntime {

// Asked now and then during long work, by the calling thread alone; true means stop.
using Poll = std::function<bool()>;

constexpr auto kPollEvery = std::chrono::milliseconds(20);  // Ctrl-C has 100 ms, and an item may take 40 of them

}  // namespace pyruntime
