// Refuses to drop what cannot be had back: the extension, and its tables, while they hold
// something.
#pragma once

namespace kms::pg {

// For the rest of the process, under whatever command. Called once, when the library is loaded.
void guard_against_drops();

}  // namespace kms::pg
