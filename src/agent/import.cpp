#include "agent/import.hpp"

#include <fcntl.h>

#include "agent/private_file.hpp"
#include "base/hex.hpp"
#include "base/system.hpp"
#include "base/unique_fd.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr std::size_t longest_import = 2 * 64 + 1;  // hex of the longest key, and a newline

Result<SecretBytes> read_file(const std::string& path) {
    if (path == "-") {
        return read_all(STDIN_FILENO, longest_import, "the standard input");
    }
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return system_error("cannot open " + path);
    }
    return read_all(fd.get(), longest_import, path);
}

}  // namespace

Result<SecretBytes> read_import(const std::string& path, Algorithm algorithm) {
    KMS_ASSIGN(SecretBytes bytes, read_file(path));
    const std::size_t length = info_of(algorithm).key_length;
    if (bytes.size() == length) {
        return bytes;
    }
    std::string_view text = text_of(bytes.view());
    if (text.ends_with('\n')) {
        text.remove_suffix(1);
    }
    auto key = text.size() == 2 * length ? from_hex(text) : std::nullopt;
    if (!key) {
        return Error{Code::invalid, "the key to import is neither " + std::to_string(length) +
                                        " bytes nor " + std::to_string(2 * length) + " hex digits"};
    }
    return std::move(*key);
}

}  // namespace kms::agent
