#include "blob/text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/bytes.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";

struct Character {
    char32_t code;
    std::size_t length;  // in bytes; 0: no UTF-8 begins here
};

bool continues(std::string_view text, std::size_t length) {
    return text.size() >= length &&
           std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(length),
                       [](char c) { return (static_cast<Byte>(c) & 0xC0) == 0x80; });
}

std::size_t length_after(Byte first) {
    return first < 0x80                    ? 1
           : first >= 0xC2 && first < 0xE0 ? 2
           : (first & 0xF0) == 0xE0        ? 3
           : first >= 0xF0 && first < 0xF5 ? 4
                                           : 0;
}

bool is_shortest(char32_t code, std::size_t length) {
    return (length < 3 || code >= 0x800) && (length < 4 || code >= 0x10000) && code <= 0x10FFFF &&
           (code < 0xD800 || code > 0xDFFF);
}

Character first_of(std::string_view text) {
    const auto first = static_cast<Byte>(text.front());
    const std::size_t length = length_after(first);
    if (length == 0 || !continues(text, length)) {
        return {0, 0};
    }
    char32_t code = length == 1 ? first : first & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        code = code << 6 | (static_cast<Byte>(text[i]) & 0x3FU);
    }
    return {code, is_shortest(code, length) ? length : 0};
}

bool is_within(char32_t code, char32_t first, char32_t last) {
    return code >= first && code <= last;
}

bool is_harmful(char32_t code) {
    return code < 0x20 || is_within(code, 0x7F, 0x9F) || code == 0x61C ||
           is_within(code, 0x200E, 0x200F) || is_within(code, 0x2028, 0x202E) ||
           is_within(code, 0x2066, 0x2069);
}

std::string escaped(char32_t code) {
    std::array<char, 12> text;
    std::snprintf(text.data(), text.size(), "\\u%04x", static_cast<unsigned>(code));
    return text.data();
}

bool stands_in_shell(char c) {
    return static_cast<Byte>(c) >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') ||
           std::string_view("-_./:@%+,=").find(c) != std::string_view::npos;
}

}  // namespace

std::string printable(std::string_view text) {
    std::string safe;
    while (!text.empty()) {
        const Character character = first_of(text);
        const std::size_t length = std::max<std::size_t>(1, character.length);
        if (character.length == 0) {
            safe += replacement;
        } else if (is_harmful(character.code)) {
            safe += escaped(character.code);
        } else {
            safe += text.substr(0, length);
        }
        text.remove_prefix(length);
    }
    return safe;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const Character character = first_of(text);
        if (character.length == 0) {
            return false;
        }
        text.remove_prefix(character.length);
    }
    return true;
}

std::string size_text(std::uint64_t bytes) {
    if (bytes < 1024) {
        return std::to_string(bytes) + " bytes";
    }
    constexpr std::array units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    for (; size >= 1023.95 && unit + 1 < units.size(); ++unit) {
        size /= 1024;
    }
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.1f %s", size, units[unit]);
    return text.data();
}

std::string shell_word(std::string_view text) {
    if (!text.empty() && std::all_of(text.begin(), text.end(), stands_in_shell)) {
        return std::string(text);
    }
    std::string word = "'";
    for (const char c : text) {
        word += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    return word + "'";
}

}  // namespace kms::blob
