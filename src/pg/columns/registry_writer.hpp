// What changes kms.registered_column, but for its event triggers: PostgreSQL side.
//
// Between reading and writing a registration other sessions rename schemas, which needs no lock on
// a table, and code of the table's owner may rename columns in this one. So what is written over is
// the version of the row that was read, where it means the same still, and what is added is looked
// up again: 40001 where it is another's.
#pragma once

#include "pg/columns/registry.hpp"

namespace kms::pg {

// The caller has locked the table.
void add_registration(Relation table, AttrNumber attribute, const SealedAs& sealed_as);

// Of a column whose rows have one key.
void change_registration(const RegisteredColumn& column, const SealedAs& now, const SealedAs& was,
                         bool is_moving);

void remove_registration(const RegisteredColumn& column);

}  // namespace kms::pg
