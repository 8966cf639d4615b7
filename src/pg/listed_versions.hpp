// What the agent lists of keys: acts two and three. Kept in the session until it is asked again.
#pragma once

#include "pg/session.hpp"

namespace kms::pg {

// Of all keys that begin with the identifier. Raises a cancel only; the session is settled.
Failure list_versions(const KeyUse& use);

// False where the agent cannot be asked, or does not say. Raises a cancel only.
bool try_list_versions(ByteView key_identifier);

// Of this very key, as it was listed last; nullptr: it was not.
const wire::ListedVersion* listed_version(ByteView key_identifier, const KeyTag& tag);
const wire::ListedVersion* listed_version(ByteView key_identifier, std::uint32_t version);
const wire::ListedVersion* newest_listed(ByteView key_identifier);

}  // namespace kms::pg
