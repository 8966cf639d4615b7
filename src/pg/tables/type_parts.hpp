// What the values of a type are made of. Nothing of anybody's is evaluated. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// What is looked at of all types that belong together, which anybody's command does.
struct TypeBound {
    int types = 100;
    int attributes = 100;

    bool is_reached() const { return types <= 0 || attributes <= 0; }
};

// The type, and all types that its values are made of: each domain on the way to a base type,
// elements, attributes. Each once, and no more than are looked at.
const List* types_in(Oid type, TypeBound& bound);

// Whether a value of the type stands, at any depth, for what has a name, and so changes with that:
// regclass and its like, aclitem.
bool names_something(Oid type);

bool is_row(Oid type);

// Whether values of the type hold a row.
bool holds_row(Oid type);

// Whether values of the type may hold some of the other one: an array, a domain, a row of it.
bool is_made_of(Oid type, Oid part);

}  // namespace kms::pg
