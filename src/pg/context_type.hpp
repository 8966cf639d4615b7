// The types that contexts are made of, as they are to be told apart later.
// Nothing of anybody's is evaluated. Act one.
#pragma once

#include <cstdint>

#include "pg/pg.hpp"

namespace kms::pg {

// Two descriptions are the same where values give the same contexts: text of one collation whatever
// its length may be, and a row with the same attributes at the same places. By number, since types,
// schemas and attributes may get other names; collations by name, since pg_upgrade gives them other
// numbers.
const char* context_type(Oid type, std::int32_t modifier, Oid collation);

// Whether it is made of more types than are looked at: descriptions of two such are the same.
bool has_too_many_parts(Oid type);

// Whether a value of the type stands, at any depth, for what has a name, and so changes with that:
// regclass and its like, aclitem.
bool names_something(Oid type);

// Whether values of the type hold a row.
bool holds_row(Oid type);

// Whether values of the type may hold some of the other one: an array, a domain, a row of it.
bool is_made_of(Oid type, Oid part);

}  // namespace kms::pg
