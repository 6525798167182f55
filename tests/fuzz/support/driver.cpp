// A main for compilers without libFuzzer: fuzz_<harness> CORPUS [MUTANTS]. Runs the harness over every file of the
// folder and then over mutants of them, the same ones each time. Fails if most inputs end before what the harness is
// for.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "fuzz.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMaxSize = 4096;  // of a mutant, or that of its origin

fuzz::Random mutations(0);

Bytes read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<Bytes> read_corpus(const std::string& folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    std::vector<Bytes> corpus;
    for (const auto& path : paths) corpus.push_back(read_file(path));
    fuzz::require(!corpus.empty(), "a corpus is in", folder.c_str());
    return corpus;
}

void run(const Bytes& input) {
    // An allocation of its own, so that a sanitizer sees a read past its end.
    const Bytes exact(input.begin(), input.end());
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

// What libFuzzer would do to bytes of which it knows nothing.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
    if (max_size == 0) return 0;
    Bytes b(data, data + size);
    const auto byte = [] {
        static constexpr uint8_t kOften[] = {0, 1, 0x7F, 0x80, 0xFF};
        return mutations.one_in(2) ? kOften[mutations.below(std::size(kOften))] : uint8_t(mutations.next());
    };
    const size_t at = mutations.below(b.size() + 1), n = std::min(1 + mutations.below(8), b.size() - at);
    switch (mutations.below(5)) {
        case 0:
            b.insert(b.begin() + long(at), byte());
            break;
        case 1:
            b.erase(b.begin() + long(at), b.begin() + long(at + n));
            break;
        case 2: {
            const Bytes copy(b.begin() + long(at), b.begin() + long(at + n));
            b.insert(b.begin() + long(mutations.below(b.size() + 1)), copy.begin(), copy.end());
            break;
        }
        case 3:
            if (at < b.size()) b[at] ^= uint8_t(1u << mutations.below(8));
            break;
        default:
            if (at < b.size()) b[at] = byte();
    }
    b.resize(std::min(b.size(), max_size));
    std::copy(b.begin(), b.end(), data);
    return b.size();
}

int main(int argc, char** argv) {
    if (argc < 2 || argc > 3) {
        std::fprintf(stderr, "usage: %s CORPUS [MUTANTS]\n", argv[0]);
        return 2;
    }
    const std::vector<Bytes> corpus = read_corpus(argv[1]);
    for (const Bytes& input : corpus) run(input);

    const uint64_t n_mutants = argc == 3 ? std::stoull(argv[2]) : 0;
    fuzz::reached.inputs = fuzz::reached.inside = 0;
    for (uint64_t i = 0; i < n_mutants; i++) {
        mutations = fuzz::Random(i);
        Bytes mutant = corpus[mutations.below(corpus.size())];
        const size_t max_size = std::max(kMaxSize, mutant.size());
        for (uint64_t n = 1 + mutations.below(2); n > 0; n--) {
            const size_t size = mutant.size();
            mutant.resize(max_size);
            mutant.resize(LLVMFuzzerCustomMutator(mutant.data(), size, max_size, unsigned(mutations.next())));
        }
        run(mutant);
    }
    std::printf("%s: %zu inputs of the corpus; mutants: ", argv[0], corpus.size());
    fuzz::require(2 * fuzz::reached.inside >= n_mutants, "at least half of the mutants come past the header");
    return 0;
}
