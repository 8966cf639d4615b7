// The rows of one table, counted straight from its pages: no planner, no executor, and so nothing
// of what the table's owner has written. PostgreSQL side.
#pragma once

#include "pg/columns/census_counter.hpp"

namespace kms::pg {

// Of the table itself, without its children, as the active snapshot shows it. A large one is shared
// with workers, as many as a query's plan would have (parallel_workers of the table,
// min_parallel_table_scan_size, max_parallel_workers_per_gather). `attribute` is this table's.
void count_rows_of(Relation table, AttrNumber attribute, CensusCounter& counter);

// The same of all rows that somebody may still see or bring back: also those of transactions that
// are not over, and those that were deleted since `before` was taken. Where the table is no heap,
// those that the active snapshot shows.
void count_rows_for_anybody(Relation table, AttrNumber attribute, Snapshot before,
                            CensusCounter& counter);

}  // namespace kms::pg
