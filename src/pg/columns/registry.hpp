// The table kms.registered_column: which columns hold values of which key. PostgreSQL side.
//
// Read with the newest snapshot and without regard to the caller's privileges. A column is found by
// the numbers that kms.registered_place has of it and of those that its contexts use, and shown
// with the names of today. The names that are stored are for dumps: event triggers keep them in
// step with the table (doc/rotation.md, "Registered columns"). What has been restored while
// triggers were off has no numbers yet, and is found by its names.
#pragma once

#include <span>

#include "pg/server/arguments.hpp"
#include "pg/tables/own_table.hpp"

namespace kms::pg {

// Under what values are sealed.
struct SealedAs {
    ByteView key_identifier;     // empty where each row names its key
    const char* key_expression;  // by this, then
    const char* context_expression;
};

bool is_same_key(const SealedAs& one, const SealedAs& other);
bool is_same_context(const SealedAs& one, const SealedAs& other);
bool is_same(const SealedAs& one, const SealedAs& other);

// Views and texts are of the memory context that it was read in.
struct RegisteredColumn {
    pg_uuid_t id;
    Oid relation;             // InvalidOid: there is no such column of bytea here
    AttrNumber attribute;     // 0 then
    ByteView key_identifier;  // empty where each row names its key
    // Both are over the row's columns, giving bytea. Their names are to be read with search_path =
    // pg_catalog, pg_temp. They were written by the table's owner: whoever evaluates them runs the
    // owner's functions.
    const char* key_expression;      // nullptr: all rows have key_identifier
    const char* context_expression;  // nullptr: the empty context
    const char* broken;              // why they no longer say what they did; nullptr: they do
    const char* schema_name;
    const char* relation_name;
    const char* column_name;
    TimestampTz registered;
    // Before it was moved to another key or context; without a key: it never was. While it is being
    // moved, there may be values of both.
    SealedAs was;
    bool is_moving;
    RowVersion version;  // of the row that says so
    Oid place;           // the relation that it was noted of; InvalidOid: none
    bool is_gone;        // with its column, and nobody has taken it away yet
    bool is_stale;       // the row says something of it otherwise
    std::span<const char* const> context_names;  // of the columns that are noted

    SealedAs now() const { return {key_identifier, key_expression, context_expression}; }
};

// Whether both say the same of the values, whatever the column is called.
bool is_same(const RegisteredColumn& one, const RegisteredColumn& other);

// nullptr: it is not registered. Raises (55000) where what is registered must not be used.
const RegisteredColumn* find_registered_column(Oid relation, AttrNumber attribute);

// 55000 where what is registered must not be used. `type`: of the column that is there.
void require_intact(const RegisteredColumn& column, Oid type);

// The same, whether it may be used or not.
const RegisteredColumn* find_registration(Oid relation, AttrNumber attribute);

// The same of a name that may be none of the relation's columns any more.
const RegisteredColumn* find_registration(Oid relation, const char* column);

// Of a column that is there, and is not found for being none of bytea any more: its type.
// InvalidOid otherwise.
Oid type_instead(const RegisteredColumn& column);

// Where the column is one of a partition, or of a child table, of a table whose column of that name
// is registered, which is what counts then: that one. nullptr otherwise.
const RegisteredColumn* covering(Oid relation, const char* column,
                                 std::span<const RegisteredColumn> registered);

// Where the column has become one of a partition: what that is one of, at the top. nullptr
// otherwise.
const char* root_above(const RegisteredColumn& column);

// All of them, in the order of their names; those that are not here too.
std::span<const RegisteredColumn> registered_columns();

// The same, whose relations are locked (AccessShareLock, until the transaction ends): what is said
// of them holds until then.
std::span<const RegisteredColumn> locked_registered_columns();

// For messages: its name in quotes, or what each row names it by in parentheses.
const char* shown_key(const SealedAs& sealed_as);

// `"public"."person"."ssn"` with quotes where they are needed.
const char* full_name(const RegisteredColumn& column);

Oid registered_column_table();

}  // namespace kms::pg
