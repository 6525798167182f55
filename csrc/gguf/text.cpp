#include "gguf/text.h"

#include <cstdio>
#include <cstring>

namespace pyruntime::gguf {

namespace {

constexpr size_t kShownChars = 64;

// The code point at the start of `s` and the length of its sequence; length 0 if it is malformed.
size_t decode(std::string_view s, uint32_t& code) {
    const uint32_t lead = static_cast<uint8_t>(s[0]);
    code = lead;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    const size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (s.size() < n) return 0;
    code = lead & (0x7Fu >> n);
    for (size_t i = 1; i < n; ++i) {
        const uint32_t byte = static_cast<uint8_t>(s[i]);
        if ((byte & 0xC0) != 0x80) return 0;
        code = code << 6 | (byte & 0x3F);
    }
    constexpr uint32_t kLowest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code < kLowest[n] || code > 0x10FFFF || surrogate ? 0 : n;
}

// C0, C1, zero-width, line and paragraph separators, direction overrides and isolates, byte order mark.
bool is_unsafe(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

}  // namespace

bool is_utf8(std::string_view s) {
    while (!s.empty()) {
        // Eight ASCII bytes at a time: the strings of a vocabulary are a few megabytes, and mostly that.
        uint64_t eight;
        if (s.size() >= sizeof(eight)) {
            std::memcpy(&eight, s.data(), sizeof(eight));
            if ((eight & 0x8080808080808080) == 0) {
                s.remove_prefix(sizeof(eight));
                continue;
            }
        }
        uint32_t code;
        const size_t n = decode(s, code);
        if (n == 0) return false;
        s.remove_prefix(n);
    }
    return true;
}

std::string printable(std::string_view s, size_t max_chars) {
    std::string out;
    for (size_t shown = 0; !s.empty(); ++shown) {
        if (shown == max_chars) return out + "...";
        uint32_t code;
        const size_t n = decode(s, code);
        if (n != 0 && !is_unsafe(code)) {
            out += s.substr(0, n);
        } else {
            if (n == 0) code = static_cast<uint8_t>(s[0]);
            char escape[8];
            std::snprintf(escape, sizeof(escape), code < 0x100 ? "\\x%02x" : "\\u%04x", static_cast<unsigned>(code));
            out += escape;
        }
        s.remove_prefix(n == 0 ? 1 : n);
    }
    return out;
}

std::string quoted(std::string_view name) { return '"' + printable(name, kShownChars) + '"'; }

GGUFError error_at(const std::string& path, const std::string& field, uint64_t at, const std::string& problem) {
    return GGUFError(printable(path) + ": " + field + " (byte " + std::to_string(at) + "): " + problem);
}

}  // namespace pyruntime::gguf
