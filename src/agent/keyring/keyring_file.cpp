#include "agent/keyring/keyring_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "agent/keyring/keyring_format.hpp"
#include "agent/keyring/private_file.hpp"
#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

bool same_time(const timespec& left, const timespec& right) {
    return left.tv_sec == right.tv_sec && left.tv_nsec == right.tv_nsec;
}

// After some minutes every file system has written what it was told, and an agent starts faster.
bool is_settled(const struct stat& status) {
    constexpr std::time_t a_while = 600;
    return std::abs(std::time(nullptr) - status.st_ctim.tv_sec) > a_while;
}

// A new state takes one name, and the other would go on with the old one.
Status check_only_name(const struct stat& status, const std::string& path) {
    if (status.st_nlink > 1) {
        return Error{Code::invalid,
                     path + " has another name, a hard link: remove that one, or make it a copy"};
    }
    return {};
}

}  // namespace

Result<SecretBytes> KeyringLock::read() const {
    if (lseek(file_.get(), 0, SEEK_SET) != 0) {
        return system_error("cannot read " + place_.path);
    }
    return read_all(file_.get(), max_keyring_size, place_.path);
}

Status KeyringLock::replace(ByteView bytes) {
    return replace_private_file(place_, status_, bytes);
}

Result<ReadMark> KeyringFile::open_checked(int folder, const std::string& name, int flags) const {
    ReadMark mark;
    // Without O_NONBLOCK a named pipe in the keyring's place would hold us for ever.
    mark.file = UniqueFd(openat(folder, name.c_str(), flags | O_NONBLOCK | O_CLOEXEC));
    if (!mark.file && errno == ENOENT) {
        return Error{Code::not_found, "there is no keyring " + path_};
    }
    if (!mark.file) {
        return system_error("cannot open the keyring " + path_);
    }
    if (fstat(mark.file.get(), &mark.status) != 0) {
        return system_error("cannot examine the keyring " + path_);
    }
    KMS_TRY(check_private(mark.status, path_));
    return mark;
}

bool KeyringFile::exists() const {
    struct stat status {};
    return lstat(path_.c_str(), &status) == 0;
}

Result<KeyringBytes> KeyringFile::read() const {
    KMS_ASSIGN(ReadMark mark, open_checked(AT_FDCWD, path_, O_RDONLY));
    KMS_ASSIGN(SecretBytes bytes, read_all(mark.file.get(), max_keyring_size, path_));
    return KeyringBytes{std::move(mark), std::move(bytes)};
}

bool KeyringFile::unchanged_since(const ReadMark& mark) const {
    struct stat now {};
    return stat(path_.c_str(), &now) == 0 && is_same_file(now, mark.status) &&
           now.st_size == mark.status.st_size && same_time(now.st_mtim, mark.status.st_mtim) &&
           same_time(now.st_ctim, mark.status.st_ctim);
}

// Whoever gave it the name may be about to, or was killed before. A folder that this user may not
// read, and a disk that takes nothing more, keep nobody from opening what is sealed.
void KeyringFile::make_durable(const ReadMark& mark) const {
    if (is_settled(mark.status)) {
        return;
    }
    if (const auto place = find_place(path_); place) {
        fsync(place->folder.get());
    }
}

bool KeyringFile::leads_to(const struct stat& file) const {
    struct stat named {};
    return stat(path_.c_str(), &named) == 0 && is_same_file(named, file);
}

// What was true before the wait is looked at again.
Result<KeyringLock> KeyringFile::lock(milliseconds patience) const {
    const TimePoint deadline = Clock::now() + patience;
    for (;;) {
        KMS_ASSIGN(Place place, find_place(path_));
        KMS_ASSIGN(ReadMark mark,
                   open_checked(place.folder.get(), place.name, O_RDWR | O_NOFOLLOW));
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
        KMS_TRY(lock_exclusively(mark.file.get(), left, path_));
        struct stat locked {};
        if (fstat(mark.file.get(), &locked) != 0) {
            return system_error("cannot examine the keyring " + path_);
        }
        if (place.is_of(locked) && leads_to(locked)) {
            KMS_TRY(check_private(locked, path_));
            KMS_TRY(check_only_name(locked, path_));
            return KeyringLock(std::move(mark.file), locked, std::move(place));
        }
    }
}

Status KeyringFile::create(ByteView bytes) const {
    return create_private_file(path_, bytes);
}

}  // namespace kms::agent
