#include "base/escape.hpp"

#include <array>

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::string_view hex_digits = "0123456789ABCDEF";

using Table = std::array<bool, 256>;

constexpr Table word_table() {
    Table table{};
    for (int byte = 0x21; byte <= 0x7E; ++byte) {
        table[byte] = byte != '%';
    }
    return table;
}

constexpr Table identifier_table() {
    Table table{};
    for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789._/:@-")) {
        table[static_cast<Byte>(c)] = true;
    }
    return table;
}

constexpr Table word_bytes = word_table();
constexpr Table identifier_bytes = identifier_table();

const Table& table_of(Alphabet alphabet) {
    return alphabet == Alphabet::word ? word_bytes : identifier_bytes;
}

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

bool stands_for_itself(Alphabet alphabet, Byte byte) {
    return table_of(alphabet)[byte];
}

void append_escaped(std::string& out, Alphabet alphabet, ByteView bytes) {
    const Table& plain = table_of(alphabet);
    for (const Byte byte : bytes) {
        if (plain[byte]) {
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
    const Table& plain = table_of(alphabet);
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (plain[static_cast<Byte>(text[i])]) {
            out += text[i];
            continue;
        }
        const auto byte =
            text[i] == '%' ? escaped_byte(spelling, text.substr(i + 1)) : std::nullopt;
        if (!byte || (spelling == Spelling::only_one && plain[*byte])) {
            return std::nullopt;
        }
        out += static_cast<char>(*byte);
        i += 2;
    }
    return out;
}

}  // namespace kms
