// Names in the expression of a context: PostgreSQL side. It is stored as text and means the same
// for good.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// 0A000. Whoever may create in the schema of a function could make another of the same name, which
// fits better, unless the arguments are of the very types that it declares; and whoever owns a type
// could make a cast that the expression uses, or what it calls.
void require_exact_names(Node* node);

}  // namespace kms::pg
