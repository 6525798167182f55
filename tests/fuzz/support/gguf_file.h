#pragma once
#include <string>

namespace fuzz {

// Opens a GGUF file and uses all that is in it. What it refuses, it refuses as it promises; all else ends the process.
void use_file(const std::string& path);

}  // namespace fuzz
