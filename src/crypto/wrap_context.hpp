// Contexts that keep the uses of wrapped keys and secrets apart (doc/formats.md, "Wrapped keys and
// secrets"): what was wrapped for one of them does not open for another. And what keeps all that
// kms itself seals apart from what users seal.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace kms {

// Of version `version` of the data key `name`.
std::string data_key_context(std::string_view algorithm, std::uint64_t version, ByteView name);

// Of a secret of the user's own, with the user's own context.
std::string secret_context(ByteView context);

// All contexts of kms itself begin so, and none that a user gives may.
inline constexpr std::string_view own_context_prefix = "kms/1 ";

inline bool begins_as_own_context(ByteView context) {
    return text_of(context).starts_with(own_context_prefix);
}

}  // namespace kms
