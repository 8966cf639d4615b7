// The SQL expression by which a registered column's context is computed from its row: act one.
#pragma once

#include "pg/pg.hpp"

namespace kms::pg {

// The same expression as it is stored, to be read with search_path = pg_catalog, pg_temp. Raises
// where it is not one expression over the table's columns that gives bytea: no subquery, aggregate,
// window function or set, nothing volatile, neither `attribute` itself nor a system column.
const char* checked_context(Relation table, AttrNumber attribute, const char* text);

// A stored one, ready for ExecInitExpr.
Expr* stored_context(Relation table, const char* text);

struct RenamedColumn {
    AttrNumber attribute;
    const char* old_name;
};

// A stored one, after a column of the table has been given another name.
const char* context_after_rename(Relation table, RenamedColumn renamed, const char* text);

}  // namespace kms::pg
