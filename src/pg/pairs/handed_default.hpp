// The DEFAULT of a column, for the one that takes its place: PostgreSQL side.
#pragma once

#include "pg/pairs/pair.hpp"

namespace kms::pg {

struct HandedDefault {
    bool is_there;
    Node* expression;      // seals it; nullptr: it cannot be handed on
    const char* obstacle;  // then: why
};

// In one of the pair's tables, of the column that goes. What the default is sealed as must be the
// text that encrypt_column would have sealed, in every session; and the key must be all that it
// needs. Nothing of it is parsed again, which would run its types' code in the caller's name.
HandedDefault handed_default(const Pair& pair, Relation table, AttrNumber from);

// As SQL.
const char* deparsed(Node* expression);

}  // namespace kms::pg
