// Percent-escapes: arbitrary bytes as ASCII text, `%XX` in upper-case hex.
//
// Two alphabets: words of the agent protocol (doc/protocol.md) and key identifiers wherever people
// read and write them: in kms.keys, in views, in messages, on a terminal.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace kms {

enum class Alphabet {
    word,        // 0x21..0x7E but not '%' stand for themselves
    identifier,  // A-Za-z0-9._/:@- stand for themselves
};

namespace detail {

using EscapeTable = std::array<bool, 256>;

constexpr EscapeTable make_word_table() {
    EscapeTable table{};
    for (int byte = 0x21; byte <= 0x7E; ++byte) {
        table[byte] = byte != '%';
    }
    return table;
}

constexpr EscapeTable make_identifier_table() {
    EscapeTable table{};
    for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789._/:@-")) {
        table[static_cast<Byte>(c)] = true;
    }
    return table;
}

inline constexpr EscapeTable word_bytes = make_word_table();
inline constexpr EscapeTable identifier_bytes = make_identifier_table();

}  // namespace detail

inline bool stands_for_itself(Alphabet alphabet, Byte byte) {
    return alphabet == Alphabet::word ? detail::word_bytes[byte] : detail::identifier_bytes[byte];
}

std::string escape(Alphabet alphabet, ByteView bytes);
void append_escaped(std::string& out, Alphabet alphabet, ByteView bytes);

enum class Spelling {
    only_one,  // what escape() writes and nothing else: no lower-case hex, no needless escape
    lenient,   // any byte may be escaped, in hex of either case
};

// nullopt: `text` has a byte that must be escaped, an incomplete escape, or is not of the spelling.
std::optional<std::string> unescape(Alphabet alphabet, Spelling spelling, std::string_view text);

}  // namespace kms
