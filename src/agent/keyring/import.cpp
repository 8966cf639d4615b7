#include "agent/keyring/import.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "agent/keyring/private_file.hpp"
#include "base/hex.hpp"
#include "base/system.hpp"
#include "base/unique_fd.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr std::size_t longest_import = 2 * 64 + 1;  // hex of the longest key, and a newline

Result<SecretBytes> read_open(int fd, const std::string& name) {
    struct stat status {};
    if (fstat(fd, &status) != 0) {
        return system_error("cannot examine " + name);
    }
    KMS_TRY(check_closed_to_others(status, name));
    return read_all(fd, longest_import, name);
}

Result<SecretBytes> read_file(const std::string& path) {
    if (path == "-") {
        return read_open(STDIN_FILENO, "the standard input");
    }
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        return system_error("cannot open " + path);
    }
    return read_open(fd.get(), path);
}

std::string_view without_newline(std::string_view text) {
    return text.ends_with('\n') ? text.substr(0, text.size() - 1) : text;
}

bool is_text(ByteView bytes) {
    return std::ranges::all_of(bytes, [](Byte byte) { return byte >= 0x20 && byte < 0x7f; });
}

Error does_not_fit(std::size_t length, ImportForm form) {
    const std::string raw = std::to_string(length) + " bytes";
    const std::string hex = std::to_string(2 * length) + " hex digits";
    const std::string wanted = form == ImportForm::raw   ? "not " + raw
                               : form == ImportForm::hex ? "not " + hex
                                                         : "neither " + raw + " nor " + hex;
    return {Code::invalid, "the key to import is " + wanted};
}

Error ambiguous(std::size_t length) {
    return {Code::invalid, "the key to import is " + std::to_string(length) +
                               " characters of text, which is not what " + std::to_string(length) +
                               " random bytes look like: --hex or another --algorithm is for hex "
                               "digits, and --raw takes the characters themselves as the key"};
}

}  // namespace

Result<SecretBytes> read_import(const std::string& path, Algorithm algorithm, ImportForm form) {
    KMS_ASSIGN(SecretBytes bytes, read_file(path));
    const std::size_t length = info_of(algorithm).key_length;
    if (form != ImportForm::hex && bytes.size() == length) {
        if (form == ImportForm::unsaid && is_text(bytes.view())) {
            return ambiguous(length);
        }
        return bytes;
    }
    const std::string_view text = without_newline(text_of(bytes.view()));
    auto key = form != ImportForm::raw && text.size() == 2 * length ? from_hex(text) : std::nullopt;
    if (!key) {
        return does_not_fit(length, form);
    }
    return std::move(*key);
}

}  // namespace kms::agent
