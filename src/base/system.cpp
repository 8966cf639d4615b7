#include "base/system.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/floor.hpp"

namespace kms {

Error system_error(const std::string& what) {
    return {Code::io, what + ": " + std::generic_category().message(errno)};
}

Status open_standard_descriptors() {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        const int way = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;  // to use it is an error still
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", way) != fd) {
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
