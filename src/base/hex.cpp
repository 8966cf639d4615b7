#include "base/hex.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

// -1 for anything but a hex digit.
int value_of(char digit) {
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    const std::size_t value = digits.find(digit);
    return value == std::string_view::npos ? -1 : static_cast<int>(value);
}

}  // namespace

void write_hex(ByteView bytes, char* out) {
    for (const Byte byte : bytes) {
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
    }
}

std::string to_hex(ByteView bytes) {
    std::string text(2 * bytes.size(), '\0');
    write_hex(bytes, text.data());
    return text;
}

std::optional<SecretBytes> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) {
        return std::nullopt;
    }
    SecretBytes bytes(text.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const int high = value_of(text[2 * i]);
        const int low = value_of(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return std::nullopt;
        }
        bytes.span()[i] = static_cast<Byte>(high << 4 | low);
    }
    return bytes;
}

}  // namespace kms
