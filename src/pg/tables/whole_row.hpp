// Whether what catalogs store of a view, a policy and the like uses a table's row as a whole: act
// one.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// `tree`: a pg_node_tree, of an expression over a row of `own`, or of queries. PostgreSQL records
// that the tree depends on the columns that it names besides, and then nothing of the row.
bool is_over_whole_row(const char* tree, Oid own, Oid table);

}  // namespace kms::pg
