// What the machine gives, to compare with what the engine makes of it. Both are upper bounds: the best of up to a
// hundred runs of each of two loops, so that neither a neighbour nor the shape of a loop is taken for a limit of the
// machine.
#pragma once
#include <cstddef>

#include "engine/poll.h"
#include "kernels/table.h"

namespace pyruntime {

// Bytes a second that `n_threads` threads together read from memory, each its part of `n_bytes` in order, as a decoded
// token reads the weights. Throws MemoryLimitError, Interrupted; Error if the system does not give so many threads.
double memory_bandwidth(int n_threads, size_t n_bytes, const Poll& poll);

// Operations a second, two for a product that is added up, of what multiplies bytes fastest (kernels/peak.h). Throws as
// above.
double int8_peak(const KernelTable& kernels, int n_threads, const Poll& poll);

}  // namespace pyruntime
