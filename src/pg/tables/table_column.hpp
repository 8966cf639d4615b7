// The column that a function's arguments (relation, column_name) name, and names of its table:
// PostgreSQL side.
#pragma once

#include "pg/server/arguments.hpp"

namespace kms::pg {

const char* column_argument(FunctionCallInfo fcinfo);

// Of one that is the table's own, or 42703, 42P10 for a column of the system.
AttrNumber attribute_named(Oid relation, const char* name);
AttrNumber attribute_named(Relation table, const char* name);

// Where it is now: 3F000 where there is none any more.
const char* schema_name(Relation table);

// 55000 where the column of that number has another name by now, or is gone.
void require_named(Oid relation, AttrNumber attribute, const char* name);

// 42804 where it is of another type than bytea, or a domain over it.
void require_bytea(Relation table, AttrNumber attribute);

}  // namespace kms::pg
