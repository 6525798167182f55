// The weights of a model in memory: matrices packed for the kernels, vectors as float32. Read once, in chunks, on all
// threads, straight into the packed form; the file is not needed afterwards.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/memory.h"
#include "engine/poll.h"
#include "engine/thread_pool.h"
#include "gguf/gguf.h"
#include "kernels/table.h"

namespace pyruntime {

// A tensor of three dimensions: `count` matrices of one shape, each packed in groups of its own.
struct StackView {
    PackedView first;
    int64_t count;
    PackedView matrix(int64_t i) const {
        PackedView view = first;
        view.data += size_t(i) * size_t(groups_of(first.rows)) * first.group_bytes;
        return view;
    }
};

class Weights {
  public:
    // Loads the named tensors: those of one dimension as matrices of one row, of two as matrices, of three as stacks of
    // matrices; but those of `flat`, whatever their shape, as vectors of all their elements, row by row. GGUFError for
    // one that is missing or holds a value that is not finite; UnsupportedError for a type without kernels, or more
    // dimensions; Interrupted.
    Weights(const gguf::File& file, const std::vector<std::string>& names, const std::vector<std::string>& flat,
            ThreadPool& threads, const Poll& poll, const Progress& progress = nullptr);  // of bytes of the file

    size_t n_bytes() const { return n_bytes_; }
    // Of the loaded tensors' names and bytes in the file: two models that differ in a weight differ in it (but for one
    // chance in 2^64, and against intent it does not stand).
    uint64_t digest() const { return digest_; }
    bool has(const std::string& name) const { return places_.count(name) != 0; }
    PackedView matrix(const std::string& name) const;               // Error if it is not a matrix
    StackView stack(const std::string& name) const;                 // Error if it is not a stack
    const float* vector(const std::string& name, int64_t n) const;  // Error if it is not a vector of n
    int64_t vector_size(const std::string& name) const;             // Error if it is not a vector
    std::string source(const std::string& name) const;              // "FILE: tensor NAME at offset N", for messages

  private:
    struct Place {
        const gguf::TensorInfo* info;
        PackedView view;  // data relative to storage_ until loaded; a vector is one row of F32
        int n_dims;       // 1: a vector, 2: a matrix, 3: a stack
        int64_t count;    // matrices
        bool is_vector() const { return n_dims == 1; }
        int64_t groups() const { return is_vector() ? 1 : count * groups_of(view.rows); }
        // The first row, and the number of rows, of a group in the file, which has the matrices one after the other.
        int64_t first_row(int64_t group) const {
            const int64_t of_matrix = groups_of(view.rows);
            return group / of_matrix * view.rows + group % of_matrix * kLanes;
        }
        int64_t rows_of(int64_t group) const {
            const int64_t left = view.rows - group % groups_of(view.rows) * kLanes;
            return left < kLanes ? left : kLanes;
        }
        size_t offset;
        std::string description;
    };
    void plan(const gguf::File& file, const std::string& name, bool flat);
    void read_chunk(const gguf::File& file, const Place& place, int64_t first_group, int64_t last_group,
                    std::vector<uint8_t>& buffer);  // leaves the chunk's bytes of the file in the buffer
    const Place& at(const std::string& name) const;

    std::unordered_map<std::string, Place> places_;
    size_t n_bytes_ = 0;
    uint64_t digest_ = 0;
    AlignedBytes storage_;
};

// What loading these tensors takes, for the memory plan. Rows are padded to groups of 16, so a matrix of one row takes
// 16 times its bytes in the file. Throws what Weights() throws for a missing tensor, a type or a shape.
size_t loaded_bytes(const gguf::File& file, const std::vector<std::string>& names,
                    const std::vector<std::string>& flat);

}  // namespace pyruntime
