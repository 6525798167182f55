// Text out of a file: what is refused, and what is shown of it, against a decoder of its own.
#include "gguf/text.h"

#include <string_view>

#include "fuzz.h"

namespace {

using namespace pyruntime::gguf;

// One code point by the table of well-formed sequences of the Unicode standard (3-7); 0 bytes if there is none.
size_t well_formed(std::string_view s) {
    const auto in = [&](size_t i, int low, int high) {
        return i < s.size() && uint8_t(s[i]) >= low && uint8_t(s[i]) <= high;
    };
    const auto tails = [&](size_t from, size_t to) {
        for (size_t i = from; i < to; i++)
            if (!in(i, 0x80, 0xBF)) return false;
        return true;
    };
    if (in(0, 0, 0x7F)) return 1;
    if (in(0, 0xC2, 0xDF)) return tails(1, 2) ? 2 : 0;
    if (in(0, 0xE0, 0xE0)) return in(1, 0xA0, 0xBF) && tails(2, 3) ? 3 : 0;
    if (in(0, 0xED, 0xED)) return in(1, 0x80, 0x9F) && tails(2, 3) ? 3 : 0;
    if (in(0, 0xE1, 0xEF)) return tails(1, 3) ? 3 : 0;
    if (in(0, 0xF0, 0xF0)) return in(1, 0x90, 0xBF) && tails(2, 4) ? 4 : 0;
    if (in(0, 0xF1, 0xF3)) return tails(1, 4) ? 4 : 0;
    if (in(0, 0xF4, 0xF4)) return in(1, 0x80, 0x8F) && tails(2, 4) ? 4 : 0;
    return 0;
}

// Characters, or -1.
long count(std::string_view s) {
    long n = 0;
    for (; !s.empty(); n++) {
        const size_t bytes = well_formed(s);
        if (bytes == 0) return -1;
        s.remove_prefix(bytes);
    }
    return n;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::reached.inputs++;
    fuzz::reached.inside++;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    fuzz::require(is_utf8(text) == (count(text) >= 0), "valid UTF-8 is what the standard says");

    const std::string shown = printable(text);
    fuzz::require(count(shown) >= 0, "what is shown is valid UTF-8");
    fuzz::require(printable(shown) == shown, "what is shown needs no further escape");
    for (const char c : shown) fuzz::require(uint8_t(c) >= 0x20 && c != 0x7F, "what is shown has no control character");
    // An escape has up to six characters.
    fuzz::require(count(quoted(text)) <= 64 * 6 + 5, "a quoted name is short");
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned) {
    return LLVMFuzzerMutate(data, size, max_size);
}
