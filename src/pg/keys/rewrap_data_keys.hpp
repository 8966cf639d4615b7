// Brings the data keys that a KEK wraps to its current version. Both sides.
#pragma once

#include "pg/server/arguments.hpp"
#include "pg/session/key_use.hpp"

namespace kms::pg {

// Every row that is not destroyed, whatever KEK version it names: the number may be one that the
// agent has given to another version since. The form that opened becomes the second, and the new
// one has been seen to open; KM009 where it is by a version older than `current`. Within the
// transaction, whose lock on the KEK keeps others from it.
std::size_t rewrap_data_keys(const KeyUse& kek, std::uint32_t current);  // how many

// Raises what would keep a data key from it, before the agent makes a version for it that would
// stay when the call is undone: data keys that are made meanwhile would need it.
void require_rewrappable(const KeyUse& kek);

}  // namespace kms::pg
