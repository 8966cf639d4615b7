// What a context expression names, as the raw parser reads it: nothing is looked up, and nothing of
// anybody's is evaluated, so that event triggers may call it. PostgreSQL side.
//
// Expressions are read with standard_conforming_strings = on, which is the caller's to see to.
#pragma once

#include <span>

#include "pg/server/pg.hpp"

namespace kms::pg {

// Its raw parse tree. Raises where it is not one expression.
Node* raw_context(const char* text);

// Of whatever it names as columns, as List of char*; a name comes as often as it is used.
List* names_of_columns(const char* text);

// Whether there is one of that name.
bool has_name(const List* names, const char* name);

struct RenamedColumn {
    const char* old_name;
    const char* new_name;
};

// The expression after columns have been given other names, all at once. Raises where it would
// not be the same but for those.
const char* renamed_context(const char* text, std::span<const RenamedColumn> columns);

// Whether `command` has given another name, or schema, to something that the expression names: a
// schema, a function, a type, a label of one, an attribute of a type. By the names alone, that of
// `object` as it is now where the command does not say its schema: it may be another thing of the
// same name. What the expression names without a schema is PostgreSQL's own.
bool names_renamed(const char* text, const Node* command, const ObjectAddress& object);

// Whether `command` has given a label of an enum another name.
bool is_rename_of_label(const Node* command);

}  // namespace kms::pg
