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

class Weights {
  public:
    // Loads the named tensors: those of one dimension as vectors, of two as matrices. GGUFError for one that is
    // missing or holds a value that is not finite; UnsupportedError for a type without kernels, or more dimensions;
    // Interrupted.
    Weights(const gguf::File& file, const std::vector<std::string>& names, ThreadPool& threads, const Poll& poll);

    size_t n_bytes() const { return n_bytes_; }
    bool has(const std::string& name) const { return places_.count(name) != 0; }
    PackedView matrix(const std::string& name) const;               // Error if it is a vector
    const float* vector(const std::string& name, int64_t n) const;  // Error if it is not a vector of n

  private:
    struct Place {
        const gguf::TensorInfo* info;
        PackedView view;  // data relative to storage_ until loaded; a vector is one row of F32
        bool is_vector;
        size_t offset;
    };
    void plan(const gguf::File& file, const std::string& name);
    void read_chunk(const gguf::File& file, const Place& place, int64_t first_group, int64_t last_group,
                    std::vector<uint8_t>& buffer);
    const Place& at(const std::string& name) const;

    std::unordered_map<std::string, Place> places_;
    size_t n_bytes_ = 0;
    AlignedBytes storage_;
};

// What loading these tensors takes, for the memory plan. Rows are padded to groups of 16, so a matrix of one row takes
// 16 times its bytes in the file. Throws what Weights() throws for a missing tensor, a type or a shape.
size_t loaded_bytes(const gguf::File& file, const std::vector<std::string>& names);

}  // namespace pyruntime
