// Whose code the expression of a context runs: PostgreSQL side. It is stored as text, and what it
// names can be dropped and made anew by whoever owns its schema; it then runs in the name of the
// table's owner, or of whoever writes a row.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// 42501 where the raw parse tree names a type that is neither `owner`'s nor a superuser's, nor of
// somebody who has the privileges of `owner` anyway. Before anything else is looked up: to read a
// constant of the type runs what its domains check. What was looked at is what is meant from then
// on, whatever has the name by then: the tree has it by number, and has lost its name, by which
// PostgreSQL calls the columns of subqueries. So there must be none.
void require_owned_types(Node* raw, Oid owner);

// The same of the functions, operators, collations and types of an expression. Nothing of it is
// evaluated.
void require_owned_code(Node* node, Oid owner);

}  // namespace kms::pg
