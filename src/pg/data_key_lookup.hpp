// Data keys that a function names, as they are now: act one, under lock_data_key().
#pragma once

#include "pg/data_keys.hpp"

namespace kms::pg {

// KM002 where there is no such data key, in the words "could not `action`".
DataKeyVersion newest_version(const char* action, ByteView name);
DataKeyVersion version_of(const char* action, ByteView name, std::uint32_t version);

}  // namespace kms::pg
