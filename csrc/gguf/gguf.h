// A GGUF model: metadata, tensor table, and the bytes of each tensor. Everything a file says has been checked against
// the file when File exists, so that its users need not check again; see header.cpp for the rules.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "errors.h"
#include "gguf/strings.h"

namespace pyruntime::gguf {

class OsFile;

using Value =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t, int64_t,
                 double, std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                 std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>, Strings,
                 std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;

struct Entry {
    std::string key;
    Value value;
    uint64_t at;  // where the entry begins in the file, for messages
};

struct TensorInfo {
    std::string name;
    uint32_t type;               // formats::find_type knows it, but may say that it is not supported
    std::vector<uint64_t> dims;  // 1 to 4, as in the file: dims[0] is the row length, whole blocks of the type
    uint64_t offset;             // of its data, from the start of its part
    uint64_t n_bytes;
    uint32_t part;  // index in File::paths()
    uint64_t at;    // where its row of the table begins in its part, for messages
};

class File {
  public:
    // Opens `path` and, if it is the first of a split model (name-00001-of-00003.gguf), all other parts.
    explicit File(const std::string& path);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    const std::string& path() const { return paths_.front(); }
    const std::vector<std::string>& paths() const { return paths_; }
    uint32_t version() const { return version_; }
    uint32_t alignment() const { return alignment_; }
    uint64_t file_bytes() const { return file_bytes_; }  // of all parts

    // Of the first part, in the order of the file.
    const std::vector<Entry>& metadata() const { return metadata_; }

    // Of all parts, in the order of the files.
    const std::vector<TensorInfo>& tensors() const { return tensors_; }
    const TensorInfo* find(std::string_view name) const;    // nullptr if absent
    const TensorInfo& tensor(std::string_view name) const;  // GGUFError if absent

    // Bytes [at, at + n) of the data of a tensor of this file. Thread-safe. GGUFError if the file has been closed, or
    // truncated since it was opened.
    void read(const TensorInfo& t, uint64_t at, void* dst, size_t n) const;

    // Reads that have begun end as if the file were still open. Metadata and tensor table stay.
    void close();

  private:
    using Parts = std::vector<OsFile>;

    void add_part(Parts& parts, OsFile file);
    void open_other_parts(Parts& parts);
    void index_tensors();

    std::vector<std::string> paths_;
    uint32_t version_ = 0;
    uint32_t alignment_ = 0;
    uint64_t file_bytes_ = 0;
    std::vector<Entry> metadata_;
    std::vector<TensorInfo> tensors_;
    std::vector<size_t> by_name_;         // indices of tensors_, sorted by name
    std::shared_ptr<const Parts> parts_;  // only through std::atomic_load and std::atomic_store; null once closed
};

}  // namespace pyruntime::gguf
