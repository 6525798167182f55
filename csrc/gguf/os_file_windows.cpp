#include "gguf/os_file.h"

#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "gguf/text.h"

namespace pyruntime::gguf {

namespace {

constexpr size_t kMaxRead = size_t{1} << 30;  // a DWORD counts what is read

std::string reason(DWORD error) { return std::system_category().message(static_cast<int>(error)); }

HANDLE as_handle(intptr_t handle) { return reinterpret_cast<HANDLE>(handle); }

// Empty if `path` is not UTF-8, which Python's os.fsencode makes of every path but one with a lone surrogate.
std::wstring wide(const std::string& path) {
    const int n_bytes = static_cast<int>(path.size());
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), n_bytes, nullptr, 0);
    std::wstring text(static_cast<size_t>(n), L'\0');
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), n_bytes, text.data(), n);
    return text;
}

}  // namespace

OsFile::OsFile(const std::string& path) : path_(path) {
    const auto refuse = [&](const std::string& problem) { return GGUFError(printable(path) + ": " + problem); };
    if (path.find('\0') != std::string::npos) throw refuse("the path holds a NUL character");
    const std::wstring name = wide(path);
    const DWORD attributes = GetFileAttributesW(name.c_str());
    if (attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY)
        throw refuse("is a folder; give the path of a GGUF file");
    const HANDLE file =
        CreateFileW(name.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    /*lpSecurityAttributes=*/nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, /*hTemplateFile=*/nullptr);
    LARGE_INTEGER size = {};
    std::string problem;
    if (file == INVALID_HANDLE_VALUE) {
        problem = "cannot open: " + reason(GetLastError());
    } else if (GetFileType(file) != FILE_TYPE_DISK) {
        problem = "is not a regular file (a pipe or a device)";
    } else if (!GetFileSizeEx(file, &size)) {
        problem = "cannot open: " + reason(GetLastError());
    }
    if (!problem.empty()) {
        if (file != INVALID_HANDLE_VALUE) CloseHandle(file);
        throw refuse(problem);
    }
    handle_ = reinterpret_cast<intptr_t>(file);
    size_ = static_cast<uint64_t>(size.QuadPart);
}

OsFile::OsFile(OsFile&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), handle_(std::exchange(other.handle_, -1)) {}

OsFile::~OsFile() {
    if (handle_ != -1) CloseHandle(as_handle(handle_));
}

size_t OsFile::read_at(uint64_t at, void* dst, size_t n) const {
    size_t done = 0;
    while (done < n) {
        OVERLAPPED where = {};
        where.Offset = static_cast<DWORD>(at + done);
        where.OffsetHigh = static_cast<DWORD>((at + done) >> 32);
        const DWORD chunk = static_cast<DWORD>(std::min(n - done, kMaxRead));
        DWORD got = 0;
        if (!ReadFile(as_handle(handle_), static_cast<char*>(dst) + done, chunk, &got, &where)) {
            const DWORD error = GetLastError();
            if (error == ERROR_HANDLE_EOF) break;
            throw error_at(path_, "data", at + done, "cannot read: " + reason(error));
        }
        if (got == 0) break;
        done += got;
    }
    return done;
}

}  // namespace pyruntime::gguf
