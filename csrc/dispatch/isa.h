// Which kernels run: an ordered list of instruction sets, the first one that the CPU and the OS support wins.
// PYRUNTIME_ISA=<name> overrides the choice and fails loudly where it cannot be had.
#pragma once
#include <string>
#include <vector>

#include "kernels/table.h"

namespace pyruntime {

struct Isa {
    const KernelTable* kernels;
    bool (*supported)();  // CPU and OS
    const char* needs;    // for messages
};

// Best first; "scalar" is the last and always runs.
const std::vector<Isa>& compiled_isas();
std::vector<std::string> available_isas();

// `name` empty: PYRUNTIME_ISA, else the best. Throws UnsupportedError for a name that is unknown or cannot run here.
const KernelTable& choose_isa(const std::string& name = "");

}  // namespace pyruntime
