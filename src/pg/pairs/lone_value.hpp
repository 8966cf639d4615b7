// What a command does to a row of two columns that are kept in step; and a row with a value in the
// one that is made and none in the one that it is made of. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// Of an UPDATE: the column has the value that it had, and not NULL.
bool is_unchanged(const TriggerData* call, AttrNumber attribute);

// Whether it is one, and stays as it was: there is nothing to make its value of, and it may be the
// only one. 27000 where such a value is written: it would go without a word.
bool is_lone_value(const TriggerData* call, AttrNumber source, AttrNumber target);

}  // namespace kms::pg
