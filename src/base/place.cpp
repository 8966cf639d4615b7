#include "base/place.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/system.hpp"

#include "base/floor.hpp"

namespace kms {

bool Place::is_of(const struct stat& file) const {
    struct stat named {};
    return fstatat(folder.get(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           is_same_file(named, file);
}

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
        return ".";
    }
    return slash == 0 ? "/" : path.substr(0, slash);
}

Result<Place> open_place(const std::string& path) {
    const std::string folder = folder_of(path);
    UniqueFd opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!opened) {
        return system_error("cannot open the folder " + folder);
    }
    return Place{path, std::move(opened), path.substr(path.rfind('/') + 1)};
}

Result<Place> find_place(const std::string& path) {
    struct Free {
        void operator()(char* text) const { std::free(text); }
    };
    const std::unique_ptr<char, Free> target(realpath(path.c_str(), nullptr));
    if (!target && errno == ENOENT) {
        return Error{Code::not_found, "there is no " + path};
    }
    if (!target) {
        return system_error("cannot find " + path);
    }
    return open_place(target.get());
}

bool rename_to_free_name(const std::string& from, const Place& to) {
    const int folder = to.folder.get();
    if (renameat2(folder, from.c_str(), folder, to.name.c_str(), RENAME_NOREPLACE) == 0) {
        return true;
    }
    const bool is_unsupported =
        errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM;
    if (!is_unsupported || linkat(folder, from.c_str(), folder, to.name.c_str(), 0) != 0) {
        return false;
    }
    unlinkat(folder, from.c_str(), 0);
    return true;
}

bool is_same_file(const struct stat& left, const struct stat& right) {
    return left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

}  // namespace kms
