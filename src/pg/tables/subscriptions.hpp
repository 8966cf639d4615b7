// What brings rows from another server: PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// InvalidOid: there is none. A disabled one counts, since it may go on.
Oid subscription_to(Oid table);

// Whether the index that a subscription finds rows by is over other columns. A subscriber without
// such a key looks for the row of an UPDATE or a DELETE by all of its columns, and passes over in
// silence what it does not find.
bool is_identified_without(Relation table, AttrNumber column);

// 55000 in a subscription's worker where its rows are found by that column too: whatever a trigger
// makes of it, the publisher knows nothing of.
void require_findable_rows(Relation table, AttrNumber column);

// For messages.
const char* shown_subscription(Oid subscription);

}  // namespace kms::pg
