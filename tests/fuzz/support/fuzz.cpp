#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

namespace fuzz {

Reached reached;

Reached::~Reached() {
    std::printf("%llu inputs, of which %llu came past the header\n", static_cast<unsigned long long>(inputs),
                static_cast<unsigned long long>(inside));
}

namespace {

struct Folder {
    std::string path;
    Folder() {
        const char* chosen = std::getenv("TMPDIR");
        const std::string parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : chosen != nullptr ? chosen : "/tmp";
        path = parent + "/pyruntime-fuzz-XXXXXX";
        require(mkdtemp(path.data()) != nullptr, "a folder can be made in", parent.c_str());
    }
    ~Folder() { rmdir(path.c_str()); }
};

const std::string& scratch_folder() {
    static const Folder folder;
    return folder.path;
}

}  // namespace

ScratchFile::ScratchFile(const std::string& name)
    : path_(scratch_folder() + "/" + name), fd_(open(path_.c_str(), O_RDWR | O_CREAT, 0600)) {
    require(fd_ >= 0, "a file can be written:", path_.c_str());
}

ScratchFile::~ScratchFile() {
    close(fd_);
    unlink(path_.c_str());
}

void ScratchFile::write(const uint8_t* data, size_t n, uint64_t size) const {
    require(ftruncate(fd_, 0) == 0 && pwrite(fd_, data, n, 0) == ssize_t(n) && ftruncate(fd_, off_t(size)) == 0,
            "a file can be written:", path_.c_str());
}

}  // namespace fuzz
