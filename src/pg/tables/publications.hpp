// What brings rows to other servers: PostgreSQL side, in an SPI connection.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// The publications that would bring a new column of the table, or of its partitions, for messages;
// nullptr: there is none.
const char* publications_with_new(Oid relation);

// 55000 where a published table, or a partition, has the column in its replica identity: it takes
// no UPDATE any more when that is dropped. With REPLICA IDENTITY FULL, while one side has a column
// that the other has not, a subscriber without a key finds no row by all of its columns, and passes
// over the change in silence.
void require_found_by_subscribers(Oid relation, const char* column);

}  // namespace kms::pg
