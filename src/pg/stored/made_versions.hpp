// Versions of data keys that a subtransaction has made. Rolled back, nothing of them has been; but
// a value that was sealed under one may have got out, in a variable of PL/pgSQL or of the client,
// be stored, and never open again. Such a transaction does not commit. PostgreSQL side.
#pragma once

#include "base/bytes.hpp"
#include "crypto/algorithm.hpp"

namespace kms::pg {

void note_made(ByteView name, std::uint32_t version, const KeyTag& tag);

// Before a value is sealed under the version.
void note_sealing(const KeyTag& tag);

}  // namespace kms::pg
