#include "blob/input.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/system.hpp"
#include "blob/interruption.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// None of a time that the server cannot store: it has the years from 4713 BC on, and, as
// microseconds since 1970, what 64 bits hold.
std::optional<std::int64_t> microseconds(const timespec& time) {
    constexpr std::int64_t first = -210'866'803'200;
    constexpr std::int64_t last = 9'223'372'036'853;
    const std::int64_t seconds{time.tv_sec};
    if (seconds < first || seconds > last) {
        return std::nullopt;
    }
    return seconds * 1'000'000 + time.tv_nsec / 1000;
}

}  // namespace

Result<std::string> read_words(const std::string& path) {
    constexpr std::uint64_t longest = std::uint64_t{2} << 20;
    KMS_ASSIGN(Input input, Input::open(path));
    SecretBytes bytes;
    KMS_TRY(input.read(bytes, longest + 1));
    if (bytes.size() > longest) {
        return Error{Code::invalid, path + " has more than " + std::to_string(longest) + " bytes"};
    }
    std::string words(text_of(bytes.view()));
    if (words.ends_with('\n')) {
        words.pop_back();
    }
    return words;
}

Result<Input> Input::open(const std::string& path) {
    Input input(path);
    if (!input.is_standard_input()) {
        input.file_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!input.file_) {
            return system_error("cannot open " + path);
        }
    }
    KMS_TRY(input.look());
    return input;
}

int Input::fd() const {
    return is_standard_input() ? STDIN_FILENO : file_.get();
}

Status Input::look() {
    struct stat status {};
    if (fstat(fd(), &status) != 0) {
        return system_error("cannot look at " + path_);
    }
    if (S_ISDIR(status.st_mode)) {
        return Error{Code::invalid, path_ + " is a directory"};
    }
    if (S_ISREG(status.st_mode)) {
        size_ = static_cast<std::uint64_t>(status.st_size);
        modified_ = microseconds(status.st_mtim);
        posix_fadvise(fd(), 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    return {};
}

std::optional<std::string> Input::name() const {
    if (is_standard_input()) {
        return std::nullopt;
    }
    return path_.substr(path_.rfind('/') + 1);
}

Status Input::read(SecretBytes& piece, std::uint64_t length) {
    piece.reserve(length);
    piece.resize(length);
    std::size_t filled = 0;
    while (filled < length) {
        KMS_TRY(await(fd(), POLLIN));
        const ssize_t count = ::read(fd(), piece.data() + filled, length - filled);
        if (count < 0 && errno != EINTR && errno != EAGAIN) {
            return system_error("cannot read " + path_);
        }
        if (count == 0) {
            break;
        }
        filled += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    }
    piece.resize(filled);
    return {};
}

}  // namespace kms::blob
