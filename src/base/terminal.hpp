// Secrets that are asked for on the terminal.
#pragma once

#include <cstddef>
#include <optional>

#include "base/secret.hpp"

namespace kms {

enum class Asking { once, twice };

bool has_terminal();

// One line of at most `longest` bytes, without echo; nullopt where none was given, or two that
// differ. Without a terminal this would read the standard input: look before.
std::optional<SecretBytes> ask_on_terminal(const char* prompt, std::size_t longest, Asking asking);

}  // namespace kms
