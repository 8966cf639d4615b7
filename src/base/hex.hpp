// Lower-case hex, as key tags and generated keys are written.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/secret.hpp"

namespace kms {

std::string to_hex(ByteView bytes);

// Writes 2 * bytes.size() digits; for secrets, whose text must not pass through a std::string.
void write_hex(ByteView bytes, char* out);

// Either case; nullopt for an odd length or anything but hex digits. Wipes what it lets go of.
std::optional<SecretBytes> from_hex(std::string_view text);

// The same for as many digits as fill `out`; false otherwise, with anything in it.
bool read_hex(std::string_view text, ByteSpan out);

}  // namespace kms
