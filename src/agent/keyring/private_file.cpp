#include "agent/keyring/private_file.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <thread>

#include "base/system.hpp"
#include "base/unique_fd.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr mode_t private_mode = S_IRUSR | S_IWUSR;
constexpr std::size_t read_step = 64 * 1024;
constexpr milliseconds lock_step{5};

// Where a part of the path is a symbolic link, there is none: ELOOP.
UniqueFd open_folder_without_links(const std::string& folder) {
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_NO_SYMLINKS;
    return UniqueFd(
        static_cast<int>(syscall(SYS_openat2, AT_FDCWD, folder.c_str(), &how, sizeof how)));
}

// Where root makes a file for another user: in a folder of that user's, who could make it there
// too, or where no link leads to, since it may be the user who has made the link.
Result<Place> open_place_for(const std::string& path, const Owner& owner) {
    KMS_ASSIGN(Place place, open_place(path));
    struct stat folder {};
    if (fstat(place.folder.get(), &folder) != 0) {
        return system_error("cannot examine the folder of " + path);
    }
    if (owner.user == geteuid() || owner.user == folder.st_uid) {
        return place;
    }
    place.folder = open_folder_without_links(folder_of(path));
    if (!place.folder && errno == ELOOP) {
        return Error{Code::denied, "a symbolic link leads to " + path +
                                       ", which is to be another user's: give the path without it"};
    }
    if (!place.folder) {
        return system_error("cannot open the folder of " + path);
    }
    return place;
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

Result<std::string> drawn_suffix() {
    constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789";
    std::array<Byte, 6> drawn{};
    KMS_TRY(random_public(drawn));
    std::string suffix = ".new-";
    for (const Byte byte : drawn) {
        suffix += letters[byte % letters.size()];
    }
    return suffix;
}

// The next state of a file, until it has the file's name. Its own name is drawn, so that it is
// nobody else's file that is written to or removed.
class NextState {
  public:
    explicit NextState(const Place& place) : place_(place) {}
    ~NextState() {
        if (fd_) {
            unlinkat(folder(), name_.c_str(), 0);
        }
    }
    NextState(const NextState&) = delete;
    NextState& operator=(const NextState&) = delete;

    Status open_fresh() {
        do {
            KMS_ASSIGN(const std::string suffix, drawn_suffix());
            name_ = place_.name + suffix;
            path_ = place_.path + suffix;
            fd_ = UniqueFd(openat(folder(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                                  private_mode));
        } while (!fd_ && errno == EEXIST);
        return fd_ ? Status() : system_error("cannot create a file beside " + place_.path);
    }

    Status lock() {
        if (flock(fd_.get(), LOCK_EX) != 0) {
            return system_error("cannot lock " + path_);
        }
        return {};
    }

    Status give_to(const Owner& owner) {
        struct stat status {};
        if (fstat(fd_.get(), &status) != 0) {
            return system_error("cannot examine " + path_);
        }
        if (status.st_uid != owner.user && fchown(fd_.get(), owner.user, owner.group) != 0) {
            return system_error("cannot give " + path_ + " to the owner of " + place_.path);
        }
        return {};
    }

    Status write_durably(ByteView bytes) {
        KMS_TRY(write_all(fd_.get(), bytes, path_));
        if (fsync(fd_.get()) != 0) {
            return system_error("cannot make " + path_ + " durable");
        }
        return {};
    }

    Status take_free_name() {
        if (rename_to_free_name(name_, place_)) {
            fd_.reset();
            return {};
        }
        if (errno == EEXIST) {
            return Error{Code::invalid, place_.path + " exists already"};
        }
        return system_error("cannot create " + place_.path);
    }

    Status replace_name() {
        if (renameat(folder(), name_.c_str(), folder(), place_.name.c_str()) != 0) {
            return system_error("cannot replace " + place_.path);
        }
        fd_.reset();
        return {};
    }

  private:
    int folder() const { return place_.folder.get(); }

    const Place& place_;
    std::string name_;
    std::string path_;  // for messages
    UniqueFd fd_;       // open as long as the name is ours to remove
};

// The lock is on the file, and not on its name: a backup may have been put there meanwhile.
Status check_still_there(const Place& place, const struct stat& old) {
    struct stat named {};
    const bool is_named =
        fstatat(place.folder.get(), place.name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0;
    if (!is_named && errno != ENOENT) {
        return system_error("cannot examine " + place.path);
    }
    if (!is_named || !is_same_file(named, old)) {
        return Error{Code::denied, place.path +
                                       " was removed or replaced by somebody else meanwhile: it is "
                                       "left so, and nothing is changed"};
    }
    return {};
}

Status make_durable(const Place& place) {
    if (fsync(place.folder.get()) != 0) {
        return system_error(place.path + " was written, but its folder could not be made durable");
    }
    return {};
}

}  // namespace

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
    KMS_ASSIGN(const Place place, owner ? open_place_for(path, *owner) : open_place(path));
    {
        NextState next(place);
        KMS_TRY(next.open_fresh());
        KMS_TRY(next.lock());
        if (owner) {
            KMS_TRY(next.give_to(*owner));
        }
        KMS_TRY(next.write_durably(bytes));
        KMS_TRY(next.take_free_name());
    }
    return make_durable(place);
}

Status replace_private_file(const Place& place, const struct stat& old, ByteView bytes) {
    NextState next(place);
    KMS_TRY(next.open_fresh());
    KMS_TRY(next.give_to({old.st_uid, old.st_gid}));
    KMS_TRY(next.write_durably(bytes));
    KMS_TRY(check_still_there(place, old));
    KMS_TRY(next.replace_name());
    return make_durable(place);
}

}  // namespace kms::agent
