#include "base/hex.hpp"

#include <array>

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

// -1 for anything but a hex digit.
constexpr std::array<signed char, 256> make_values() {
    std::array<signed char, 256> values{};
    values.fill(-1);
    for (std::size_t value = 0; value < digits.size(); ++value) {
        const char digit = digits[value];
        values[static_cast<Byte>(digit)] = static_cast<signed char>(value);
        values[static_cast<Byte>(digit >= 'a' ? digit - 'a' + 'A' : digit)] =
            static_cast<signed char>(value);
    }
    return values;
}

constexpr std::array<signed char, 256> values = make_values();

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
    SecretBytes bytes(text.size() / 2);
    if (!read_hex(text, bytes.span())) {
        return std::nullopt;
    }
    return bytes;
}

bool read_hex(std::string_view text, ByteSpan out) {
    if (text.size() != 2 * out.size()) {
        return false;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto high = values[static_cast<Byte>(text[2 * i])];
        const auto low = values[static_cast<Byte>(text[2 * i + 1])];
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = static_cast<Byte>(high << 4 | low);
    }
    return true;
}

}  // namespace kms
