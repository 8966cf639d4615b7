// The SQL expressions by which a registered column's context, or the identifier of its key, is
// computed from its row: PostgreSQL side. Both give bytea as they are stored.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// The same expression as it is stored, which means the same whatever a session's settings are.
// Checked in the name of the table's owner, with the caller's search_path. Raises where it is not
// one expression over the table's columns that gives bytea: no subquery, aggregate, window function
// or set, nothing volatile, neither `attribute` itself nor a system column; and where it would mean
// something else as it is stored.
const char* checked_context(Relation table, AttrNumber attribute, const char* text);

// The same of a row's key. A text is stored as its bytes, which kms.encode_with() takes it for.
const char* checked_key(Relation table, AttrNumber attribute, const char* text);

// A stored one of either kind, ready for ExecInitExpr.
Expr* stored_context(Relation table, const char* text);

// Those that it is over, as pull_varattnos() numbers them; none where it is nullptr.
Bitmapset* columns_of_context(Relation table, const char* stored);

// 42P10 where it is over a generated column: a trigger before the row is written sees none of its
// value, or the one of before.
void require_at_hand(Relation table, const char* stored);

}  // namespace kms::pg
