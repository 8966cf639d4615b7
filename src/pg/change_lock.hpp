// Who changes kms.data_key does so one at a time for each data key, and not while its KEK is
// rotated. Readers are never blocked. Act one; the locks are held until the transaction is over.
#pragma once

#include "base/bytes.hpp"

namespace kms::pg {

// Before a data key's rows are read to be changed. Then its KEK's, always in this order.
void lock_data_key(ByteView name);

// Nobody rotates the KEK, or retires a version of it.
void share_kek(ByteView kek);

// Nobody changes a data key that the KEK wraps.
void lock_kek(ByteView kek);

}  // namespace kms::pg
