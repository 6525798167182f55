// The calls of the operating system, and nothing else: a regular file that is read at an offset. os_file_posix.cpp or
// os_file_windows.cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace pyruntime::gguf {

class OsFile {
  public:
    explicit OsFile(const std::string& path);  // GGUFError unless `path` is a regular file that can be read
    OsFile(OsFile&& other) noexcept;
    OsFile& operator=(OsFile&&) = delete;
    ~OsFile();

    const std::string& path() const { return path_; }
    uint64_t size() const { return size_; }  // when it was opened; it may have shrunk since

    // Reads n bytes at offset `at`, fewer only where the file ends now. Thread-safe. GGUFError if the device fails.
    size_t read_at(uint64_t at, void* dst, size_t n) const;

  private:
    std::string path_;
    uint64_t size_ = 0;
    intptr_t handle_ = -1;  // a file descriptor; on Windows a HANDLE, whose INVALID_HANDLE_VALUE is -1 too
};

}  // namespace pyruntime::gguf
