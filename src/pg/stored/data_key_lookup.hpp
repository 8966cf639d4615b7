// Data keys that a function names, as they are now. PostgreSQL side.
#pragma once

#include "pg/stored/data_keys.hpp"

namespace kms::pg {

// KM002 where there is no such data key, in the words "could not `action`".
DataKeyVersion newest_version(const char* action, ByteView name);
DataKeyVersion version_of(const char* action, ByteView name, std::uint32_t version);

// The same, to be changed: nobody else changes the data key, or rotates its KEK, until the
// transaction is over.
DataKeyVersion lock_newest_version(const char* action, ByteView name);
DataKeyVersion lock_version(const char* action, ByteView name, std::uint32_t version);

// 40001 where what was locked, or looked at, is another KEK than the data key is under now.
void require_same_kek(const char* action, ByteView name, ByteView before, ByteView now);

}  // namespace kms::pg
