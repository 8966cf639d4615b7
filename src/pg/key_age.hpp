// How old a key version may get: kms.max_age.
#pragma once

#include "base/bytes.hpp"
#include "pg/pg.hpp"

namespace kms::pg {

// A WARNING where the version, which seals, was created longer ago than kms.max_age.
void warn_if_old(ByteView identifier, TimestampTz created);

}  // namespace kms::pg
