// The rows of a product that takes a part of each row of its input: one where it lies, several as copies one after
// another.
#pragma once
#include <cstring>

#include "engine/plan.h"

namespace pyruntime {

class Gather {
  public:
    Gather() = default;
    // Parts of `cols` elements of the rows of x, at most `max_rows` at a time.
    Gather(const Buffer& x, int64_t cols, int64_t max_rows) : x_(x), cols_(cols), max_rows_(max_rows) {}

    size_t scratch_bytes() const {
        if (x_.kind() == Kind::floats) return array_bytes(max_rows_ * cols_, sizeof(float));
        return array_bytes(max_rows_ * cols_, 1) + 2 * array_bytes(blocks(), sizeof(float)) +
               array_bytes(blocks(), sizeof(BlockSums));
    }

    // The product reads the part of `row` from `column` on.
    void one(const StepState& s, int64_t row, int64_t column, MatmulArgs& a) const {
        if (x_.kind() == Kind::floats)
            a.x = x_.row(s, row) + column;
        else
            a.xq = part(row, column);
        a.n_tokens = 1;
    }

    // The product reads n parts, of which place(i) gives (row, column); copied to `scratch` unless there is only one.
    template <class Place>
    void many(const StepState& s, int64_t n, const Place& place, uint8_t* scratch, MatmulArgs& a) const {
        if (n == 1) {
            const auto [row, column] = place(0);
            return one(s, row, column, a);
        }
        a.n_tokens = n;
        if (x_.kind() == Kind::floats) {
            auto* to = reinterpret_cast<float*>(scratch);
            for (int64_t i = 0; i < n; i++) {
                const auto [row, column] = place(i);
                copy(to + i * cols_, x_.row(s, row) + column, cols_);
            }
            a.x = to;
            return;
        }
        uint8_t* d = scratch + array_bytes(max_rows_ * cols_, 1);
        uint8_t* e = d + array_bytes(blocks(), sizeof(float));
        uint8_t* sums = e + array_bytes(blocks(), sizeof(float));
        a.xq = {reinterpret_cast<int8_t*>(scratch), reinterpret_cast<float*>(d), reinterpret_cast<float*>(e),
                reinterpret_cast<BlockSums*>(sums)};
        for (int64_t i = 0; i < n; i++) {
            const auto [row, column] = place(i);
            const QuantizedRows from = part(row, column);
            const int64_t n_blocks = cols_ / kBlock, at = i * n_blocks;
            copy(a.xq.q + i * cols_, from.q, cols_);
            copy(a.xq.d + at, from.d, n_blocks);
            copy(a.xq.e + at, from.e, n_blocks);
            copy(a.xq.sums + at, from.sums, n_blocks);
        }
    }

  private:
    int64_t blocks() const { return max_rows_ * cols_ / kBlock; }
    static size_t array_bytes(int64_t n, size_t element) { return size_t(round_up(n * int64_t(element), 64)); }
    template <class T>
    static void copy(T* to, const T* from, int64_t n) {
        std::memcpy(to, from, size_t(n) * sizeof(T));
    }
    QuantizedRows part(int64_t row, int64_t column) const {
        const QuantizedRows all = x_.quantized();
        const int64_t at = row * x_.width() + column, block = at / kBlock;
        return {all.q + at, all.d + block, all.e + block, all.sums + block};
    }

    Buffer x_;
    int64_t cols_ = 0, max_rows_ = 0;
};

}  // namespace pyruntime
