// When keys are wiped, and the agent let go of: at the end of a transaction, after kms.cache_ttl,
// at the end of the session.
#pragma once

namespace kms::pg {

// Once, when the session is made.
void watch_lifetime();

// Sets the timer for the next key that expires or agent that does not end, unless it is set for an
// earlier one.
void arm_timer();

}  // namespace kms::pg
