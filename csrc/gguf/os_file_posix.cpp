#include "gguf/os_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "gguf/text.h"

namespace pyruntime::gguf {

namespace {

constexpr size_t kMaxRead = size_t{1} << 30;  // macOS refuses more than INT_MAX in one call, Linux cuts it

// Not strerror, whose buffer the threads share.
std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

OsFile::OsFile(const std::string& path) : path_(path) {
    const auto refuse = [&](const std::string& problem) { return GGUFError(printable(path) + ": " + problem); };
    if (path.find('\0') != std::string::npos) throw refuse("the path holds a NUL character");
    // O_NONBLOCK: opening a pipe would otherwise wait for its writer.
    const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    std::string problem;
    if (fd < 0 || ::fstat(fd, &status) != 0) {
        problem = "cannot open: " + reason(errno);
    } else if (S_ISDIR(status.st_mode)) {
        problem = "is a folder; give the path of a GGUF file";
    } else if (!S_ISREG(status.st_mode)) {
        problem = "is not a regular file (a pipe, a socket or a device)";
    }
    if (!problem.empty()) {
        if (fd >= 0) ::close(fd);  // the destructor does not run for an object whose constructor throws
        throw refuse(problem);
    }
    handle_ = fd;
    size_ = static_cast<uint64_t>(status.st_size);
}

OsFile::OsFile(OsFile&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), handle_(std::exchange(other.handle_, -1)) {}

OsFile::~OsFile() {
    if (handle_ >= 0) ::close(static_cast<int>(handle_));
}

size_t OsFile::read_at(uint64_t at, void* dst, size_t n) const {
    size_t done = 0;
    while (done < n) {
        const size_t chunk = std::min(n - done, kMaxRead);
        const ssize_t got =
            ::pread(static_cast<int>(handle_), static_cast<char*>(dst) + done, chunk, static_cast<off_t>(at + done));
        if (got == 0) break;
        if (got < 0) {
            if (errno == EINTR) continue;
            throw error_at(path_, "data", at + done, "cannot read: " + reason(errno));
        }
        done += static_cast<size_t>(got);
    }
    return done;
}

}  // namespace pyruntime::gguf
