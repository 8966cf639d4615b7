// Whose code the expression of a context runs: act one. It is stored as text, and what it names can
// be dropped and made anew by whoever owns its schema; it then runs in the name of the table's
// owner, or of whoever writes a row.
#pragma once

#include "pg/pg.hpp"

namespace kms::pg {

// 42501 where the raw parse tree names a type that is not of `owner`'s, nor of a superuser's, nor
// of somebody's who has the privileges of `owner` in any case. Before anything is looked up: to
// read a constant of the type runs what its domains check.
void require_owned_types(Node* raw, Oid owner);

// The same of the functions, operators and types of an expression. Nothing of it is evaluated.
void require_owned_code(Node* node, Oid owner);

}  // namespace kms::pg
