#include "check.h"

#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "reference.h"

namespace kernel_check {

namespace {

char current_case[512];  // what a signal handler may read

uint32_t bits_of(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return bits;
}

}  // namespace

std::string text(const char* format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    std::vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return line;
}

void Run::begin(std::string label) {
    label_ = std::move(label);
    case_failed_ = false;
    std::snprintf(current_case, sizeof current_case, "%s %s", k.name, label_.c_str());
}

void Run::fail(const std::string& what) {
    if (case_failed_) return;
    case_failed_ = true;
    failures_.push_back(label_ + ": " + what);
}

std::string Run::describe(uint32_t value, Kind kind) {
    if (kind == Kind::kInt) return text("%d", int32_t(value));
    float f;
    std::memcpy(&f, &value, 4);
    return text("%.9g (%08x)", kind == Kind::kHalf ? half_to_double(uint16_t(value)) : double(f), value);
}

void Run::word(const char* what, size_t index, uint32_t value, Kind kind) {
    hash_ = (hash_ ^ value) * 0x100000001b3;
    if (reference_) {
        transcript_.push_back(value);
    } else if (position_ >= transcript_.size()) {
        fail(text("%s[%zu] is a result that the scalar kernels did not give", what, index));
    } else if (value != transcript_[position_]) {
        fail(text("%s[%zu] is %s, scalar gives %s", what, index, describe(value, kind).c_str(),
                  describe(transcript_[position_], kind).c_str()));
    }
    position_++;
}

void Run::result(const char* what, const float* v, size_t n) {
    for (size_t i = 0; i < n; i++) word(what, i, v[i] != v[i] ? 0x7fc00000 : bits_of(v[i]), Kind::kFloat);
}
void Run::result(const char* what, const int8_t* v, size_t n) {
    for (size_t i = 0; i < n; i++) word(what, i, uint32_t(int32_t(v[i])), Kind::kInt);
}
void Run::result(const char* what, const int32_t* v, size_t n) {
    for (size_t i = 0; i < n; i++) word(what, i, uint32_t(v[i]), Kind::kInt);
}
void Run::result(const char* what, const uint8_t* v, size_t n) {
    for (size_t i = 0; i < n; i++) word(what, i, v[i], Kind::kInt);
}
void Run::result_halves(const char* what, const uint16_t* v, size_t n) {
    for (size_t i = 0; i < n; i++) word(what, i, (v[i] & 0x7fff) > 0x7c00 ? 0x7e00 : v[i], Kind::kHalf);
}

void Run::same(const char* what, const float* got, const float* expected, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (bits_of(got[i]) == bits_of(expected[i]) || (got[i] != got[i] && expected[i] != expected[i])) continue;
        return fail(text("%s: element %zu is %s, expected %s", what, i, describe(bits_of(got[i]), Kind::kFloat).c_str(),
                         describe(bits_of(expected[i]), Kind::kFloat).c_str()));
    }
}

void Run::within(const char* what, size_t index, double value, double expected, double budget) {
    if (value == expected) return;  // infinities, whose difference is no number
    const double error = value > expected ? value - expected : expected - value;
    if (error <= budget) {
        if (budget > 0 && error / budget > budget_used_) budget_used_ = error / budget;
        return;
    }
    fail(text("%s[%zu] is %.9g, in float64 %.9g: off by %.3g, allowed %.3g", what, index, value, expected, error,
              budget));
}

void Run::finish() {
    if (position_ != transcript_.size())
        fail(text("%zu results, the scalar kernels gave %zu", position_, transcript_.size()));
}

#if (defined(__unix__) || defined(__APPLE__)) && !defined(__SANITIZE_ADDRESS__)
void report_faults() {
    const auto handler = [](int) {
        const char start[] = "FAULT: memory outside the buffers was touched in: ";
        (void)!write(2, start, sizeof start - 1);
        (void)!write(2, current_case, std::strlen(current_case));
        (void)!write(2, "\n", 1);
        _exit(1);
    };
    std::signal(SIGSEGV, handler);
    std::signal(SIGBUS, handler);
}
#else
void report_faults() {}
#endif

}  // namespace kernel_check
