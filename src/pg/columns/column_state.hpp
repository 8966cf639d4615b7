// What a column must not be in the middle of: all 55000. PostgreSQL side.
#pragma once

#include "pg/columns/in_step_trigger.hpp"

namespace kms::pg {

// A move to another key or context: its values are sealed in two ways.
void require_not_moving(const RegisteredColumn& column);

// A trigger that opens the column: it would go on as it began.
void require_not_opened(Oid relation, AttrNumber column);

// A trigger that seals into the column: two triggers would seal and open in turn.
void require_not_being_encrypted(Oid relation, const char* encrypted);

// A trigger that makes the column of another: it would be sealed before that has made it.
void require_not_made(Oid relation, AttrNumber column);

// A trigger of the user's that fires behind one that keeps two columns in step, and may change what
// that has made the other of. In any of the table's partitions.
void require_fires_last(Oid relation);

// It is registered: its values would be sealed twice, and dropped with it what says under which key
// they are inside.
void require_unregistered(Oid relation, AttrNumber source);

// A trigger of the table keeps two columns in step, and one of them was renamed or dropped.
void require_whole_pairs(Oid relation);

// How to stop between the two calls, for a HINT: a value may be in the new column alone, after the
// other was dropped and made anew, say.
const char* how_to_give_up(const InStepTrigger& trigger);

}  // namespace kms::pg
