// Counting what the values of a column are sealed under. Needs no key. Act one.
#pragma once

#include "pg/census_counter.hpp"

namespace kms::pg {

// Of all rows that are committed now, partitions and child tables included, whatever the caller may
// read: to be asked first, or shown nothing but numbers. Parallel where the planner finds it worth
// while. Raises 0A000 where a partition is a foreign table.
std::span<const CensusEntry> take_census(Oid relation, AttrNumber attribute);

}  // namespace kms::pg
