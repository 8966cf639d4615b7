// Transactions that write to a table or what inherits from it: PostgreSQL side.
#pragma once

#include <cstdint>

#include "pg/server/pg.hpp"

namespace kms::pg {

// Those of now, as an array's text in the current memory. Whoever has taken the lock that a write
// takes may have made its value before and not stored it yet.
const char* writers_of(Oid relation);

// How many of them are still open, or prepared.
std::int64_t count_open_writers(Oid relation, const char* writers);

}  // namespace kms::pg
