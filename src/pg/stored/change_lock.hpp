// Who changes kms.data_key does not do so while the KEK in question is rotated. Readers are never
// blocked. PostgreSQL side; the locks are held until the transaction is over, and come before those
// on rows.
#pragma once

#include "base/bytes.hpp"

namespace kms::pg {

// Nobody rotates the KEK, or retires a version of it.
void share_kek(ByteView kek);

// Nobody changes a data key that the KEK wraps.
void lock_kek(ByteView kek);

// Where a version of a key of that name is made: while it is in one place, nobody makes one in the
// other, and while it moves between them, nobody does in either.
enum class KeyPlace { database, agent, both };
void lock_name(ByteView name, KeyPlace place);

}  // namespace kms::pg
