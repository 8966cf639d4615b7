// The versions of a KEK at the agent. Both sides; what the agent does is not undone by
// ROLLBACK.
#pragma once

#include "pg/server/arguments.hpp"
#include "pg/session/key_use.hpp"

namespace kms::pg {

// The new version. Code::unsupported, and nothing is done, where the agent could not wrap by it.
std::uint32_t rotate_kek_at_agent(const KeyUse& kek);

std::uint32_t current_kek_version(const KeyUse& kek);

// The newest first. Those that are destroyed already are passed over; a WARNING tells of those that
// it does not have.
void destroy_kek_versions(const KeyUse& kek, std::uint32_t first, std::uint32_t last);

}  // namespace kms::pg
