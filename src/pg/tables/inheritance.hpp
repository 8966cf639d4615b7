// Partitions, child tables, and whose they are. What a table's owner has written is inherited:
// constraints, triggers, defaults, the partition key. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// The relation, its partitions and child tables, locked: those too that are being detached, which
// PostgreSQL leaves out.
const List* find_all_parts(Oid relation, LOCKMODE lock);

// 55000 where one is being detached: commands on the relation no longer reach it.
void require_none_detaching(Oid relation);

// 0A000 for a foreign table or a view, which came since the command began: there is nothing to
// scan. Another session may give a table such a child, or make a view of it, between two
// transactions.
void require_own_rows(Relation table);

// What it is a partition or a child table of, and what those are, without a lock.
const List* find_all_ancestors(Oid table);

// Whether `table` is `ancestor`, one of its partitions or child tables, or one of theirs.
bool is_part_of(Oid table, Oid ancestor);

// 42501 unless the relation, its partitions and child tables, and whatever any of them inherits
// from are all of one owner: code of one owner would run in the name of another.
void require_one_owner(Oid relation);

// The same of one part of it alone.
void require_owner_above(Oid part, Oid relation);

// An owner's table, neither a partition nor with tables that inherit, and all partitions of one
// owner; closes it again.
void require_own_table(const char* procedure, Oid relation);

}  // namespace kms::pg
