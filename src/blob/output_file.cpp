#include "blob/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/hex.hpp"
#include "base/system.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

constexpr mode_t own_mode = S_IRUSR | S_IWUSR;
constexpr mode_t everybodys_mode = 0666;
constexpr mode_t all_permissions = 0777;
constexpr const char* acl = "system.posix_acl_access";

mode_t mode_of_new_file() {
    const mode_t mask = umask(0);
    umask(mask);
    return everybodys_mode & ~mask;
}

bool has_acl(const char* path) {
    return getxattr(path, acl, nullptr, 0) >= 0 || (errno != ENODATA && errno != EOPNOTSUPP);
}

// The folder may have given it one, which tells of the folder and not of the file that it replaces.
bool drop_acl(int fd) {
    return fremovexattr(fd, acl) == 0 || errno == ENODATA || errno == EOPNOTSUPP;
}

// To another group none of what the old one might. Nor where an ACL says what that is: the bits of
// the group are then the most that anybody has whom it names.
mode_t mode_of_replacement(int fd, int old_fd, const struct stat& old) {
    const bool is_its_own = fchown(fd, old.st_uid, old.st_gid) == 0;
    const std::string old_file = "/proc/self/fd/" + std::to_string(old_fd);
    const bool is_groups = is_its_own && drop_acl(fd) && !has_acl(old_file.c_str());
    const mode_t mode = old.st_mode & all_permissions;
    return is_groups ? mode : mode & ~static_cast<mode_t>(S_IRWXG);
}

bool is_not_supported(int error) {
    return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EPERM;
}

// Nobody else's: process ids come again, in containers each time.
Result<std::string> drawn_suffix() {
    std::array<Byte, 8> drawn{};
    KMS_TRY(random_public(drawn));
    return "." + to_hex(drawn) + ".part";
}

Error exists_already(const std::string& path) {
    return {Code::denied, path + " exists already: --force replaces it"};
}

Error appeared_meanwhile(const std::string& path) {
    return {Code::denied, path + " was made by somebody else meanwhile, and is not replaced"};
}

}  // namespace

Result<OutputFile> OutputFile::open(const std::string& path, Replace replace) {
    OutputFile output(path);
    if (!output.is_standard_output()) {
        KMS_ASSIGN(output.place_, open_place(path));
        KMS_TRY(output.find_replaced(replace));
        KMS_TRY(output.make_temporary());
    }
    return output;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      place_(std::move(other.place_)),
      replaced_(std::move(other.replaced_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

OutputFile::~OutputFile() {
    if (!temporary_.empty()) {
        unlinkat(folder(), temporary_.c_str(), 0);
    }
}

Error OutputFile::cannot_write() const {
    return system_error("cannot write to " +
                        (is_standard_output() ? std::string("the standard output") : path_));
}

// A link, a device or a pipe would be replaced by a file, not written to.
Status OutputFile::find_replaced(Replace replace) {
    if (place_.name.empty()) {
        return Error{Code::denied, path_ + " is the name of a folder, not of a file"};
    }
    replaced_ = UniqueFd(openat(folder(), place_.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!replaced_) {
        return errno == ENOENT ? Status() : system_error("cannot write to " + path_);
    }
    struct stat status {};
    if (fstat(replaced_.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        return Error{Code::denied, path_ + " is not a regular file"};
    }
    return replace == Replace::yes ? Status() : exists_already(path_);
}

bool OutputFile::make_temporary(const std::string& name) {
    file_ =
        UniqueFd(openat(folder(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, own_mode));
    if (file_) {
        temporary_ = name;
    }
    return static_cast<bool>(file_);
}

// A name may be as long as names can be.
Status OutputFile::make_temporary() {
    KMS_ASSIGN(const std::string suffix, drawn_suffix());
    const bool is_made = make_temporary(place_.name + suffix) ||
                         (errno == ENAMETOOLONG && make_temporary("kms-blob" + suffix));
    return is_made ? Status() : system_error("cannot make a file beside " + path_);
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
    KMS_TRY(take_mode());
    if (fsync(file_.get()) != 0) {
        return cannot_write();
    }
    KMS_TRY(take_name());
    return keep_in_folder();
}

// Of the file that was there in the beginning, whatever has its name by now: who can put another
// one there would else decide who may read this one.
Status OutputFile::take_mode() {
    struct stat old {};
    if (replaced_ && fstat(replaced_.get(), &old) != 0) {
        return system_error("cannot examine " + path_);
    }
    const mode_t mode =
        replaced_ ? mode_of_replacement(file_.get(), replaced_.get(), old) : mode_of_new_file();
    return fchmod(file_.get(), mode) == 0 ? Status() : cannot_write();
}

Status OutputFile::check_replaced() const {
    struct stat old {};
    if (fstat(replaced_.get(), &old) != 0 || !place_.is_of(old)) {
        return Error{Code::denied,
                     path_ + " was removed or replaced by somebody else meanwhile: it is left so"};
    }
    return {};
}

Status OutputFile::take_name() {
    if (!replaced_) {
        return take_free_name();
    }
    KMS_TRY(check_replaced());
    if (renameat(folder(), temporary_.c_str(), folder(), place_.name.c_str()) != 0) {
        return system_error("cannot rename " + temporary_ + " to " + path_);
    }
    temporary_.clear();
    return {};
}

Status OutputFile::take_free_name() {
    if (rename_to_free_name(temporary_, place_)) {
        temporary_.clear();
        return {};
    }
    return errno == EEXIST ? appeared_meanwhile(path_)
                           : system_error("cannot rename " + temporary_ + " to " + path_);
}

// A name is on disk when its folder is.
Status OutputFile::keep_in_folder() const {
    if (fsync(folder()) != 0 && !is_not_supported(errno)) {
        return system_error("cannot write the folder " + folder_of(path_));
    }
    return {};
}

}  // namespace kms::blob
