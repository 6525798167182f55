// The errors of the core, one C++ type for each Python class in pyruntime/errors.py (bindings/errors.cpp maps them).
// Nothing in the core prints, aborts or exits.
#pragma once
#include <stdexcept>
#include <string>

namespace pyruntime {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct GGUFError : Error {
    using Error::Error;
};
struct MemoryLimitError : Error {
    using Error::Error;
};
struct UnsupportedError : Error {
    using Error::Error;
};
struct ContextError : Error {
    using Error::Error;
};
struct NumericsError : Error {
    using Error::Error;
};
struct Interrupted : Error {  // the caller's poll asked a step to stop; the bindings re-raise what Python has pending
    Interrupted() : Error("interrupted") {}
};

}  // namespace pyruntime
