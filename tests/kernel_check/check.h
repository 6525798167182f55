// One run of one check on one instruction set. The scalar kernels run first and write their results down; every other
// instruction set must repeat them bit for bit. Any NaN equals any other: which one an operation yields is no part of
// the contract.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/table.h"

namespace kernel_check {

using pyruntime::KernelTable;

// printf into a string.
#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
std::string text(const char* format, ...);

// The results of the scalar kernels, one word each, in the order of the calls.
using Transcript = std::vector<uint32_t>;

class Run {
  public:
    // `reference`: this is the scalar run, which fills the transcript and is judged against float64.
    Run(const KernelTable& kernels, Transcript& transcript, bool reference)
        : k(kernels), transcript_(transcript), reference_(reference) {}

    const KernelTable& k;

    bool reference() const { return reference_; }

    // Names the case that runs now, for messages (also for the one about a fault).
    void begin(std::string label);

    // Results of the case: the same for every instruction set.
    void result(const char* what, const float* v, size_t n);
    void result(const char* what, const int8_t* v, size_t n);
    void result(const char* what, const int32_t* v, size_t n);
    void result(const char* what, const uint8_t* v, size_t n);
    void result_halves(const char* what, const uint16_t* v, size_t n);

    // Two ways to the same numbers within one instruction set.
    void same(const char* what, const float* got, const float* expected, size_t n);
    void require(bool ok, const std::string& what) {
        if (!ok) fail(what);
    }
    // |value - expected| against its budget. Remembers the largest share of a budget that was used.
    void within(const char* what, size_t index, double value, double expected, double budget);

    void finish();  // after the last result: were there as many as the scalar kernels gave?
    uint64_t hash() const { return hash_; }
    size_t n_results() const { return position_; }
    double budget_used() const { return budget_used_; }
    const std::vector<std::string>& failures() const { return failures_; }
    std::string note;  // printed after the hash

  private:
    enum class Kind { kFloat, kInt, kHalf };
    void word(const char* what, size_t index, uint32_t value, Kind kind);
    void fail(const std::string& what);
    static std::string describe(uint32_t value, Kind kind);

    Transcript& transcript_;
    bool reference_;
    std::string label_;
    size_t position_ = 0;
    bool case_failed_ = false;
    uint64_t hash_ = 0xcbf29ce484222325;  // FNV-1a over words
    double budget_used_ = 0;
    std::vector<std::string> failures_;  // the first of each case
};

void report_faults();  // a read or write outside the buffers ends the program with the name of the case

void check_quantize(Run& run);
void check_matmul(Run& run, uint32_t type);
void check_rms_norm(Run& run);
void check_layer_norm(Run& run);
void check_add(Run& run);
void check_scale(Run& run);
void check_activations(Run& run);
void check_gated(Run& run);
void check_rope(Run& run);
void check_kv_store(Run& run);
void check_attention(Run& run);
void check_all_finite(Run& run);
void check_exp(Run& run);
void check_int8_peak(Run& run);

}  // namespace kernel_check
