// Counting what the values of a column are sealed under. Needs no key, and runs nothing that the
// owner of the table has written: no index expression, operator, trigger or policy. PostgreSQL
// side.
#pragma once

#include "pg/columns/census_counter.hpp"

namespace kms::pg {

// Of all rows that are committed now, partitions and child tables included, whatever the caller may
// read: to be asked first, or shown nothing but numbers. Raises 0A000 where rows
// of a partition are elsewhere. The relation and its parts are locked until the transaction ends,
// and what `attribute` is was looked up under such a lock.
std::span<const CensusEntry> take_census(Oid relation, AttrNumber attribute);

// The same as the active snapshot has it, of a relation whose parts were locked before that was
// taken: what is counted in one snapshot cannot be on its way from one table to another.
std::span<const CensusEntry> census_in_snapshot(Oid relation, AttrNumber attribute);

// The same of all rows that somebody may still see or bring back, since `before` was taken.
std::span<const CensusEntry> census_for_anybody(Oid relation, AttrNumber attribute,
                                                Snapshot before);

// Calls `count` in one snapshot, the newest.
template <typename Count>
auto in_one_snapshot(Count&& count) {
    CommandCounterIncrement();
    PushActiveSnapshot(GetLatestSnapshot());
    auto result = count();
    PopActiveSnapshot();
    return result;
}

// Of the relation's partitions and child tables one whose rows are elsewhere, and why: they cannot
// be counted. nullptr: there is none.
const char* part_elsewhere(Oid relation);

// The name of one that is unlogged, where this is a standby, which has not its rows.
const char* unlogged_part_on_standby(Oid relation);

}  // namespace kms::pg
