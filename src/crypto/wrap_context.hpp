// Contexts that keep the uses of wrapped keys and secrets apart (doc/formats.md, "Wrapped keys and
// secrets"): what was wrapped for one of them does not open for another.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace kms {

// Of version `version` of the data key `name`.
std::string data_key_context(std::string_view algorithm, std::uint64_t version, ByteView name);

// Of a secret of the user's own, with the user's own context.
std::string secret_context(ByteView context);

}  // namespace kms
