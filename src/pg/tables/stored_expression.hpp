// Expressions as catalogs store them. The relation cache has them simplified, and functions of the
// table's owner run for that, in the name of whoever asks first. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// Whether the column `attribute`, or the whole row, is in the expression.
bool is_in_expression(Node* expression, AttrNumber attribute);

// The same of what stands in a column of a catalog's row; not where it is NULL.
bool is_in_stored(CacheNumber catalog, HeapTuple row, AttrNumber stored, AttrNumber attribute);

// Whether an index compares it, or is partial by it.
bool is_in_index(Relation index, AttrNumber attribute);

// Of a table that may be partitioned.
bool is_in_partition_key(Relation table, AttrNumber attribute);

}  // namespace kms::pg
