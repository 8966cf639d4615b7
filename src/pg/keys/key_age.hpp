// How old a key version may get: kms.max_age.
#pragma once

#include "pg/session/session.hpp"

namespace kms::pg {

// A WARNING where the current version of a key, which is being bound, was created longer ago than
// that. Asks the agent to list it, if there is a limit and the key is the agent's.
void warn_if_old(const KeyUse& use);

}  // namespace kms::pg
