// Text that comes from a file: checked before it is kept, made harmless before it is shown.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "errors.h"

namespace pyruntime::gguf {

// Strict UTF-8: no overlong form, no surrogate, nothing above U+10FFFF.
bool is_utf8(std::string_view s);

// On one line and safe in a terminal: control and direction-changing characters and bytes that are not UTF-8 are
// escaped. Cut after `max_chars` characters.
std::string printable(std::string_view s, size_t max_chars = SIZE_MAX);

// A key or tensor name for a message: in quotes, printable, at most 64 characters of it.
std::string quoted(std::string_view name);

// `field` is what the file calls it, for example: key "general.alignment". `at` is the byte in the file where it is.
GGUFError error_at(const std::string& path, const std::string& field, uint64_t at, const std::string& problem);

}  // namespace pyruntime::gguf
