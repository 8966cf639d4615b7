// Two columns of a table that hold the same values, one in plaintext and one encrypted, while a
// table is being moved from one to the other: PostgreSQL side.
#pragma once

#include "pg/columns/opening.hpp"
#include "pg/server/pg.hpp"

namespace kms::pg {

// The trigger that keeps them in step, whose function is keep_in_step(source, target[, 'open', key,
// context]): the target has what the source has, sealed, or opened.
struct InStepTrigger {
    const char* name;  // nullptr: there is none
    const char* source;
    const char* target;
    bool opens;
    bool fires_always;  // in replicas too
    OpensAs opens_as;   // where it opens
};

Oid in_step_function();

// Whether it opens, and whether its arguments are those of such a trigger, whatever its function.
bool is_opening(const Trigger& trigger);
bool has_our_arguments(const Trigger& trigger);

// The one of the column that is named `source`.
InStepTrigger find_in_step_trigger(Relation table, const char* source);

// The one that writes the column that is named `target`.
InStepTrigger find_in_step_trigger_into(Relation table, const char* target);

// One whose source or target is no more in the table: renamed, or dropped.
InStepTrigger find_torn_trigger(Relation table);

// Who makes a trigger needs EXECUTE on its function, and so does who makes a partition of its table
// later: gives it to the table's owner, once and for all. Without USAGE of the function's schema it
// is good for nothing else.
void let_make_triggers(Oid relation);

// Makes one, behind all triggers of the user's, which may change the source yet. In an SPI
// connection.
void make_in_step_trigger(Oid relation, const InStepTrigger& trigger);

}  // namespace kms::pg
