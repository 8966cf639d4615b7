// The versions of one key, for functions that look under all of them. Both sides.
#pragma once

#include <span>

#include "crypto/algorithm.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {

// The tags of those that are enabled, in the current memory context: by what kms.data_key says now
// in envelope mode, else by what the agent lists now, since whoever has just sealed under a new
// version must find it. KM002 where there is no such key. KM011 where none is enabled, or one is
// disabled that is not to be skipped: what was sealed under it would not be found.
std::span<const KeyTag> enabled_tags(const KeyUse& use, bool skip_disabled);

}  // namespace kms::pg
