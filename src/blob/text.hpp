// Text for people: safe on a terminal whatever others have put into names and messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kms::blob {

// Control characters, and those that turn the direction of writing, as \uXXXX; what is not UTF-8 as
// U+FFFD. JSON stays the same JSON.
std::string printable(std::string_view text);

bool is_utf8(std::string_view text);

// 999 bytes, 1.0 MiB, 12.3 GiB.
std::string size_text(std::uint64_t bytes);

// As a word for a shell.
std::string shell_word(std::string_view text);

}  // namespace kms::blob
