// Counting what the values of a column are sealed under. Needs no key, and runs nothing that the
// owner of the table has written: no index expression, operator, trigger or policy. Act one.
#pragma once

#include "pg/census_counter.hpp"

namespace kms::pg {

// Of all rows that are committed now, partitions and child tables included, whatever the caller may
// read: to be asked first, or shown nothing but numbers. Raises 0A000 where a partition is a
// foreign table. The relation and its parts are locked until the transaction ends, and what
// `attribute` is was looked up under such a lock.
std::span<const CensusEntry> take_census(Oid relation, AttrNumber attribute);

// The name of a foreign table among the relation's partitions and child tables, whose rows cannot
// be counted; nullptr: there is none.
const char* foreign_part_of(Oid relation);

}  // namespace kms::pg
