// Data keys that a function names, as they are now. Act one.
#pragma once

#include "pg/data_keys.hpp"

namespace kms::pg {

// KM002 where there is no such data key, in the words "could not `action`".
DataKeyVersion newest_version(const char* action, ByteView name);
DataKeyVersion version_of(const char* action, ByteView name, std::uint32_t version);

// The same, to be changed: nobody else changes the data key, or rotates its KEK, until the
// transaction is over.
DataKeyVersion lock_newest_version(const char* action, ByteView name);
DataKeyVersion lock_version(const char* action, ByteView name, std::uint32_t version);

}  // namespace kms::pg
