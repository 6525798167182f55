// The plan: a flat list of steps on values, as the Python builder describes it (pyruntime/plan/builder.py), and as the
// executor runs it, with kernels, weights and buffer offsets resolved once.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/kv_pages.h"
#include "engine/weights.h"
#include "kernels/table.h"

namespace pyruntime {

// A value has one row a token, or one row for each position whose logits are wanted.
enum class Rows { tokens, outputs };
// Float32 rows, or rows quantized for products with quantized weights.
enum class Kind { floats, quantized };

struct ValueSpec {
    Kind kind;
    Rows rows;
    int64_t width;  // elements of a row
};

struct StepSpec {
    std::string op;
    std::vector<int> inputs, outputs;  // indices of values
    std::vector<std::string> weights;
    std::map<std::string, double> attributes;
    std::string where;  // file:line that made it
};

struct PlanSpec {
    std::vector<ValueSpec> values;
    std::vector<StepSpec> steps;
    std::vector<CacheSpec> caches;
    std::vector<std::string> flat;  // weights that are read as one row of float32, whatever their shape
    int logits;                     // the value that a step of the model returns; float rows of outputs, n_vocab wide
};

// A piece of a step as the operations see it.
struct PieceState {
    uint8_t* const* pages;
    int64_t first_row, n_tokens, first_position;
};

// What changes from step to step. The vectors are allocated once, for max_tokens.
struct StepState {
    int64_t n_tokens = 0, n_outputs = 0;
    std::vector<int32_t> ids;          // of each token row
    std::vector<int64_t> positions;    // in its sequence
    std::vector<int32_t> piece_of;     // index of its piece
    std::vector<int64_t> output_rows;  // token row of each output row
    std::vector<PieceState> pieces;
    float* logits = nullptr;
    std::atomic<bool> cancelled{false};
    uint8_t* shared = nullptr;                 // Operation::shared_bytes(), the executor's
    std::atomic<int64_t>* counters = nullptr;  // kCountersPerThread a thread, which an operation finds and leaves 0

    int64_t rows(Rows r) const { return r == Rows::tokens ? n_tokens : n_outputs; }
};

// Where a value lies: an offset into the arena, or the caller's logits.
class Buffer {
  public:
    Buffer() = default;
    Buffer(const ValueSpec& spec, uint8_t* at, int64_t max_rows, bool is_logits)
        : spec_(spec), at_(at), max_rows_(max_rows), is_logits_(is_logits) {}
    static size_t bytes(const ValueSpec& spec, int64_t max_rows);

    int64_t width() const { return spec_.width; }
    Kind kind() const { return spec_.kind; }
    Rows rows() const { return spec_.rows; }
    float* floats(const StepState& s) const { return is_logits_ ? s.logits : reinterpret_cast<float*>(at_); }
    float* row(const StepState& s, int64_t r) const { return floats(s) + r * spec_.width; }
    QuantizedRows quantized() const;

  private:
    ValueSpec spec_{};
    uint8_t* at_ = nullptr;
    int64_t max_rows_ = 0;
    bool is_logits_ = false;
};

constexpr int kCountersPerThread = 2;
// Attention is cut into spans of pages, with partial results, where it has no more blocks of rows of a kv head than
// this: with more, all threads are busy as it is. A multiple of n_kv_heads.
inline int64_t most_cut_blocks(int n_threads, int64_t n_kv_heads) {
    return n_threads > 1 ? (kCountersPerThread * n_threads - 1) / n_kv_heads * n_kv_heads : 0;
}

// What an operation is resolved against when the plan is built.
struct BuildContext {
    const KernelTable& kernels;
    const Weights& weights;
    const PagePool& pages;
    const std::vector<Buffer>& buffers;
    int64_t context;  // positions that a sequence may have
    int n_threads;
};

// How many items a thread takes at a time: a share of what is left, so that first it goes on for long and at the end no
// thread waits for another, but neither less nor more than this.
struct Grain {
    int64_t least, most;
};

// One step, resolved. run() does items [first, last) of items().
class Operation {
  public:
    virtual ~Operation() = default;
    virtual Rows rows() const { return Rows::tokens; }
    virtual int64_t items(const StepState& s) const { return s.rows(rows()); }
    virtual Grain grain(const StepState&, int /*n_threads*/) const { return {1, 1}; }
    // What run() needs of memory of its own, for as long as it runs: each thread has one scratch for all operations,
    // which stays in its cache.
    virtual size_t scratch_bytes() const { return 0; }
    // What the threads need together.
    virtual size_t shared_bytes() const { return 0; }
    virtual void run(const StepState& s, uint8_t* scratch, int64_t first, int64_t last) const = 0;
};

// Throws Error("plan: ...") where the step does not fit its operands.
std::unique_ptr<Operation> make_operation(const StepSpec& step, const PlanSpec& plan, const BuildContext& context);
// Whether the named operation is row-wise: it takes the rows of rows() as items and touches only its own row of every
// operand, so two in a row need no barrier between them, each thread keeping its rows. Throws Error for an unknown
// name.
bool is_row_wise(const std::string& op);

}  // namespace pyruntime
