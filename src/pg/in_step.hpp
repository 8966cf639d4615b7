// Two columns of a table that hold the same values, one in plaintext and one encrypted, while a
// table is being moved from one to the other: act one.
#pragma once

#include "pg/rewriting.hpp"

namespace kms::pg {

// The trigger that keeps them in step; its arguments are the names of the columns.
struct InStepTrigger {
    const char* name;  // nullptr: there is none
    const char* plain;
    const char* encrypted;
};

Oid in_step_function();

// The one of the column that is named `plain`.
InStepTrigger find_in_step_trigger(Relation table, const char* plain);

// "" for bytea, "::text" for all others: how a column's value becomes bytes.
const char* cast_to_bytes(Oid type);

// An owner's table, neither a partition nor with tables that inherit; closes it again.
void require_own_table(const char* procedure, Oid relation);

}  // namespace kms::pg
