#include "base/system.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/floor.hpp"

namespace kms {

Error system_error(const std::string& what) {
    return {Code::io, what + ": " + std::generic_category().message(errno)};
}

bool rename_to_free_name(const std::string& from, const std::string& to) {
    if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
        return true;
    }
    const bool is_unsupported =
        errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM;
    if (!is_unsupported || link(from.c_str(), to.c_str()) != 0) {
        return false;
    }
    unlink(from.c_str());
    return true;
}

Status open_standard_descriptors() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            return system_error("cannot open /dev/null");
        }
    }
    return {};
}

Status forbid_dumps() {
    const rlimit none{0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return system_error("cannot forbid core dumps");
    }
    return {};
}

}  // namespace kms
