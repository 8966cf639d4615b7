// Who still sees a row as it was before a column of it was filled. PostgreSQL side.
#pragma once

#include "pg/pairs/pair.hpp"

namespace kms::pg {

// 55006 where a transaction of this database, or a cursor of this one, has a snapshot that may be
// older than the filling of any row of the column which stays: when the other one is dropped, it
// would read NULL. Statements that end soon are waited for. Whoever calls it keeps writers out, and
// once it has returned, no transaction can come by such a snapshot: it would have to be given one
// by another.
void require_no_older_snapshot(const Pair& pair);

}  // namespace kms::pg
