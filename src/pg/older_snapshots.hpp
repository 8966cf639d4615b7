// Who still sees a table as it was before a column of it was filled. Act one.
#pragma once

#include "pg/pair.hpp"

namespace kms::pg {

// 55006 where a transaction of this database has a snapshot that may be older than the end of the
// run that filled the column which stays: when the other one is dropped, it would read NULL.
void require_no_older_snapshot(const Pair& pair);

}  // namespace kms::pg
