#include "blob/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

Error exists_already(const std::string& path) {
    return {Code::denied, path + " exists already: --force replaces it"};
}

// A link, a device or a pipe would be replaced by a file, not written to.
Status check_replaced(const std::string& path, Replace replace) {
    struct stat status {};
    if (lstat(path.c_str(), &status) != 0) {
        return {};
    }
    if (!S_ISREG(status.st_mode)) {
        return Error{Code::denied, path + " is not a regular file"};
    }
    return replace == Replace::yes ? Status() : exists_already(path);
}

}  // namespace

Result<OutputFile> OutputFile::open(const std::string& path, Replace replace) {
    OutputFile output(path, replace);
    if (!output.is_standard_output()) {
        KMS_TRY(check_replaced(path, replace));
        KMS_TRY(output.make_temporary());
    }
    return output;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      replace_(other.replace_),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

OutputFile::~OutputFile() {
    if (!temporary_.empty()) {
        unlink(temporary_.c_str());
    }
}

Error OutputFile::cannot_write() const {
    return system_error("cannot write to " +
                        (is_standard_output() ? std::string("the standard output") : path_));
}

Status OutputFile::make_temporary() {
    const std::string name = path_ + "." + std::to_string(getpid()) + ".part";
    file_ = UniqueFd(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!file_) {
        return system_error("cannot make " + name);
    }
    temporary_ = name;
    return {};
}

Status OutputFile::write(ByteView bytes) {
    const int fd = is_standard_output() ? STDOUT_FILENO : file_.get();
    while (!bytes.empty()) {
        const ssize_t count = ::write(fd, bytes.data(), bytes.size());
        if (count < 0 && errno != EINTR) {
            return cannot_write();
        }
        bytes = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    }
    return {};
}

Status OutputFile::finish() {
    if (is_standard_output()) {
        return {};
    }
    if (fsync(file_.get()) != 0) {
        return cannot_write();
    }
    return take_name();
}

Status OutputFile::take_name() {
    const unsigned flags = replace_ == Replace::yes ? 0 : RENAME_NOREPLACE;
    if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), flags) != 0) {
        return errno == EEXIST ? exists_already(path_)
                               : system_error("cannot rename " + temporary_ + " to " + path_);
    }
    temporary_.clear();
    return {};
}

}  // namespace kms::blob
