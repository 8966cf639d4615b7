// What the agent lists of one key: act one. Kept in the session until it is asked again.
#pragma once

#include "pg/session.hpp"

namespace kms::pg {

// False where the agent cannot be asked, or does not say. Raises a cancel only.
bool try_list_versions(ByteView key_identifier);

// Of those that were listed last; nullptr: it is not among them.
const wire::ListedVersion* listed_version(ByteView key_identifier, const KeyTag& tag);
const wire::ListedVersion* listed_version(ByteView key_identifier, std::uint32_t version);
const wire::ListedVersion* newest_listed(ByteView key_identifier);

}  // namespace kms::pg
