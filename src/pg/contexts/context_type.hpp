// The types that contexts are made of, as they are to be told apart later.
// Nothing of anybody's is evaluated. PostgreSQL side.
#pragma once

#include <cstdint>

#include "pg/tables/type_parts.hpp"

namespace kms::pg {

// Two descriptions are the same where values give the same contexts: text of one collation whatever
// its length may be, and a row with the same attributes at the same places. By number, since types,
// schemas and attributes may get other names; collations by name, since pg_upgrade gives them other
// numbers.
// Where the bound is reached it says so, and all such are the same.
const char* context_type(Oid type, std::int32_t modifier, Oid collation, TypeBound& bound);

}  // namespace kms::pg
