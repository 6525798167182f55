// What the harnesses share. A harness defines LLVMFuzzerTestOneInput, so libFuzzer runs it (Clang); driver.cpp runs the
// same over its corpus and seeded mutants where there is no libFuzzer. docs/fuzzing.md has the commands.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace fuzz {

// How far the inputs came, printed at the end: a harness whose inputs mostly end at the door tests the door.
struct Reached {
    uint64_t inputs = 0, inside = 0;
    ~Reached();
};
extern Reached reached;

// The same numbers for the same seed with every compiler and library, which std::uniform_int_distribution has not.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {  // SplitMix64
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return z ^ z >> 31;
    }
    uint64_t below(uint64_t n) { return next() % n; }  // n is small, so the bias does not matter
    bool one_in(uint64_t n) { return below(n) == 0; }

  private:
    uint64_t state_;
};

// A broken promise of the code under test ends the process, as a sanitizer's report does.
inline void require(bool condition, const char* promise, const char* of = "") {
    if (condition) return;
    std::fprintf(stderr, "fuzz: broken: %s %s\n", promise, of);
    std::abort();
}

// A scratch file, in memory where the system has such a folder, in a folder of this process. Both go when it ends.
class ScratchFile {
  public:
    explicit ScratchFile(const std::string& name);
    ~ScratchFile();
    ScratchFile(const ScratchFile&) = delete;
    ScratchFile& operator=(const ScratchFile&) = delete;

    const std::string& path() const { return path_; }
    // The file becomes these bytes, and zeros up to `size`, which take no room.
    void write(const uint8_t* data, size_t n, uint64_t size) const;

  private:
    std::string path_;
    int fd_;
};

}  // namespace fuzz
