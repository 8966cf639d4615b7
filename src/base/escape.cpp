#include "base/escape.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::string_view hex_digits = "0123456789ABCDEF";

std::optional<unsigned> hex_value(Spelling spelling, char digit) {
    if (spelling == Spelling::lenient && digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10u;
    }
    const std::size_t value = hex_digits.find(digit);
    if (value == std::string_view::npos) {
        return std::nullopt;
    }
    return static_cast<unsigned>(value);
}

// `text` begins behind the percent sign.
std::optional<Byte> escaped_byte(Spelling spelling, std::string_view text) {
    if (text.size() < 2) {
        return std::nullopt;
    }
    const auto high = hex_value(spelling, text[0]);
    const auto low = hex_value(spelling, text[1]);
    if (!high || !low) {
        return std::nullopt;
    }
    return static_cast<Byte>(*high << 4 | *low);
}

}  // namespace

void append_escaped(std::string& out, Alphabet alphabet, ByteView bytes) {
    for (const Byte byte : bytes) {
        if (stands_for_itself(alphabet, byte)) {
            out += static_cast<char>(byte);
        } else {
            out += {'%', hex_digits[byte >> 4], hex_digits[byte & 15]};
        }
    }
}

std::string escape(Alphabet alphabet, ByteView bytes) {
    std::string out;
    append_escaped(out, alphabet, bytes);
    return out;
}

std::optional<std::string> unescape(Alphabet alphabet, Spelling spelling, std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (stands_for_itself(alphabet, static_cast<Byte>(text[i]))) {
            out += text[i];
            continue;
        }
        const auto byte =
            text[i] == '%' ? escaped_byte(spelling, text.substr(i + 1)) : std::nullopt;
        if (!byte || (spelling == Spelling::only_one && stands_for_itself(alphabet, *byte))) {
            return std::nullopt;
        }
        out += static_cast<char>(*byte);
        i += 2;
    }
    return out;
}

}  // namespace kms
