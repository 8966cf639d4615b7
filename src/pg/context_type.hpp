// The types that contexts are made of, as they are to be told apart later.
// Nothing of anybody's is evaluated. Act one.
#pragma once

#include <cstdint>

#include "pg/pg.hpp"

namespace kms::pg {

// What is looked at of all types of one expression, which anybody's command does.
struct TypeBound {
    int types = 100;
    int attributes = 100;

    bool is_reached() const { return types <= 0 || attributes <= 0; }
};

// Two descriptions are the same where values give the same contexts: text of one collation whatever
// its length may be, and a row with the same attributes at the same places. By number, since types,
// schemas and attributes may get other names; collations by name, since pg_upgrade gives them other
// numbers.
// Where the bound is reached it says so, and all such are the same.
const char* context_type(Oid type, std::int32_t modifier, Oid collation, TypeBound& bound);

// The type, and all types that its values are made of: each domain on the way to a base type,
// elements, attributes. Each once, and no more than are looked at.
const List* types_in(Oid type, TypeBound& bound);

// Whether a value of the type stands, at any depth, for what has a name, and so changes with that:
// regclass and its like, aclitem.
bool names_something(Oid type);

// Whether values of the type hold a row.
bool holds_row(Oid type);

// Whether values of the type may hold some of the other one: an array, a domain, a row of it.
bool is_made_of(Oid type, Oid part);

}  // namespace kms::pg
