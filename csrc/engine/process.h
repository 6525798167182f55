// The id of this process: what was made before a fork knows by it that it lives in the child.
#pragma once

#ifdef _WIN32
#include <process.h>
#else
#include <unistd.h>
#endif

namespace pyruntime {

inline long process_id() {
#ifdef _WIN32
    return _getpid();
#else
    return getpid();
#endif
}

}  // namespace pyruntime
