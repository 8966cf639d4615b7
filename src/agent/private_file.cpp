#include "agent/private_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <thread>

#include "base/system.hpp"
#include "base/unique_fd.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr mode_t private_mode = S_IRUSR | S_IWUSR;
constexpr std::size_t read_step = 64 * 1024;
constexpr milliseconds lock_step{5};

Result<UniqueFd> open_folder(const std::string& path) {
    const std::string folder = folder_of(path);
    UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) {
        return system_error("cannot open the folder " + folder);
    }
    return fd;
}

Status write_all(int fd, ByteView bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t count = write(fd, bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return system_error("cannot write " + path);
        }
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return {};
}

// The next state of a file, until it has the file's name. Its own name is drawn, so that it is
// nobody else's file that is written to or removed.
class NextState {
  public:
    explicit NextState(const std::string& path) : path_(path), temporary_(path + ".new-XXXXXX") {}
    ~NextState() {
        if (fd_) {
            unlink(temporary_.c_str());
        }
    }
    NextState(const NextState&) = delete;
    NextState& operator=(const NextState&) = delete;

    Status open_fresh() {
        fd_ = UniqueFd(mkostemp(temporary_.data(), O_CLOEXEC));
        if (!fd_) {
            return system_error("cannot create a file beside " + path_);
        }
        return {};
    }

    Status lock() {
        if (flock(fd_.get(), LOCK_EX) != 0) {
            return system_error("cannot lock " + temporary_);
        }
        return {};
    }

    Status give_to(const Owner& owner) {
        struct stat status {};
        if (fstat(fd_.get(), &status) != 0) {
            return system_error("cannot examine " + temporary_);
        }
        if (status.st_uid != owner.user && fchown(fd_.get(), owner.user, owner.group) != 0) {
            return system_error("cannot give " + temporary_ + " to the owner of " + path_);
        }
        return {};
    }

    Status write_durably(ByteView bytes) {
        KMS_TRY(write_all(fd_.get(), bytes, temporary_));
        if (fsync(fd_.get()) != 0) {
            return system_error("cannot make " + temporary_ + " durable");
        }
        return {};
    }

    Status take_free_name() {
        if (rename_to_free_name(temporary_, path_)) {
            fd_.reset();
            return {};
        }
        if (errno == EEXIST) {
            return Error{Code::invalid, path_ + " exists already"};
        }
        return system_error("cannot create " + path_);
    }

    Status replace_name() {
        if (rename(temporary_.c_str(), path_.c_str()) != 0) {
            return system_error("cannot replace " + path_);
        }
        fd_.reset();
        return {};
    }

  private:
    const std::string& path_;
    std::string temporary_;
    UniqueFd fd_;  // open as long as the temporary name is ours to remove
};

Status make_durable(int folder, const std::string& path) {
    if (fsync(folder) != 0) {
        return system_error(path + " was written, but its folder could not be made durable");
    }
    return {};
}

}  // namespace

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
        return ".";
    }
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<SecretBytes> read_all(int fd, std::size_t limit, const std::string& name) {
    SecretBytes bytes;
    while (bytes.size() <= limit) {
        const std::size_t size = bytes.size();
        const ByteSpan room = bytes.extend(std::min(read_step, limit + 1 - size));
        const ssize_t count = read(fd, room.data(), room.size());
        if (count < 0 && errno != EINTR) {
            return system_error("cannot read " + name);
        }
        bytes.resize(size + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
        if (count == 0) {
            return bytes;
        }
    }
    return Error{Code::too_large, name + " has more than " + std::to_string(limit) + " bytes"};
}

Status check_private(const struct stat& status, const std::string& path) {
    if (!S_ISREG(status.st_mode)) {
        return Error{Code::denied, path + " is not a regular file"};
    }
    if ((status.st_mode & 07777) != private_mode) {
        return Error{Code::denied, path +
                                       " must have mode 0600: run chmod 0600 on it, after making "
                                       "sure that nobody has read or changed it"};
    }
    if (geteuid() != 0 && status.st_uid != geteuid()) {
        return Error{Code::denied, path + " belongs to another user"};
    }
    return {};
}

Status check_closed_to_others(const struct stat& status, const std::string& path) {
    if (S_ISREG(status.st_mode) && (status.st_mode & 0066) != 0) {
        return Error{Code::denied,
                     path + " may be read or written by others: run chmod 0600 on it"};
    }
    return {};
}

Status lock_exclusively(int fd, milliseconds patience, const std::string& path) {
    const TimePoint deadline = Clock::now() + patience;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return system_error("cannot lock " + path);
        }
        if (Clock::now() >= deadline) {
            return Error{Code::unavailable, path + " is locked by another process"};
        }
        std::this_thread::sleep_for(lock_step);
    }
    return {};
}

Status create_private_file(const std::string& path, ByteView bytes,
                           const std::optional<Owner>& owner) {
    KMS_ASSIGN(const UniqueFd folder, open_folder(path));
    {
        NextState next(path);
        KMS_TRY(next.open_fresh());
        KMS_TRY(next.lock());
        if (owner) {
            KMS_TRY(next.give_to(*owner));
        }
        KMS_TRY(next.write_durably(bytes));
        KMS_TRY(next.take_free_name());
    }
    return make_durable(folder.get(), path);
}

Status replace_private_file(const std::string& path, const struct stat& old, ByteView bytes) {
    KMS_ASSIGN(const UniqueFd folder, open_folder(path));
    NextState next(path);
    KMS_TRY(next.open_fresh());
    KMS_TRY(next.give_to({old.st_uid, old.st_gid}));
    KMS_TRY(next.write_durably(bytes));
    KMS_TRY(next.replace_name());
    return make_durable(folder.get(), path);
}

}  // namespace kms::agent
