// The keys that a table's rows name, before anything is made that seals under them: both
// sides.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// Raises what keeps a value from being sealed, where that is so for each key that the first rows
// with a value in the column name by the expression, as it is stored. Nothing is said of rows
// where there are none, or where the expression raises errors, of which the run tells.
void require_some_key(const char* action, Oid relation, const char* column, const char* expression);

}  // namespace kms::pg
