// Who changes kms.data_key does not do so while the KEK in question is rotated. Readers are never
// blocked. Act one; the locks are held until the transaction is over, and come before those on
// rows.
#pragma once

#include "base/bytes.hpp"

namespace kms::pg {

// Nobody rotates the KEK, or retires a version of it; nor moves a key of that name between the
// agent and the database.
void share_kek(ByteView kek);

// Nobody changes a data key that the KEK wraps; nor makes a version of a key of that name at the
// agent.
void lock_kek(ByteView kek);

}  // namespace kms::pg
