// What other transactions, which are not committed yet, bring under a registration. PostgreSQL
// side.
#pragma once

namespace kms::pg {

// A column.
bool is_being_registered();

// The same, or a table that becomes a part of one whose column is registered: rows that do not
// count yet.
bool are_rows_being_registered();

}  // namespace kms::pg
