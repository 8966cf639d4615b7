// Version numbers of keys at the agent that the database remembers. An agent whose keys were put
// back from a backup would give the numbers of the lost versions to new ones.
#pragma once

#include "pg/server/arguments.hpp"

namespace kms::pg {

// The highest that kms.data_key has of this KEK. 0: none. PostgreSQL side.
std::uint32_t highest_used_version(ByteView identifier);

// Warns where the agent gave a new version a number that was used before. PostgreSQL side.
void warn_if_used_before(ByteView identifier, std::uint32_t version, std::uint32_t highest);

}  // namespace kms::pg
