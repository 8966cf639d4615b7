#include "base/terminal.hpp"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <cstring>

#include "base/unique_fd.hpp"

#include "base/floor.hpp"

namespace kms {

bool has_terminal() {
    return bool(UniqueFd(open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)));
}

// OpenSSL's prompt restores the echo after a signal.
std::optional<SecretBytes> ask_on_terminal(const char* prompt, std::size_t longest, Asking asking) {
    SecretBytes line(longest + 1);
    if (EVP_read_pw_string(reinterpret_cast<char*>(line.data()), static_cast<int>(longest), prompt,
                           asking == Asking::twice) != 0) {
        ERR_clear_error();
        return std::nullopt;
    }
    line.resize(std::strlen(reinterpret_cast<const char*>(line.data())));
    return line;
}

}  // namespace kms
