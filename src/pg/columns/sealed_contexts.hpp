// Contexts and keys over what is sealed itself: PostgreSQL side. A value that is sealed again is
// other bytes, and what was sealed under the ones before would open no more.
#pragma once

#include "pg/columns/registry.hpp"

namespace kms::pg {

// 42P10 where the expression, as it is stored, is over a column that is registered in rows of the
// table, or that is kept in step with one.
void require_over_nothing_sealed(Relation table, const char* expression);

// WARNING where an expression is over a column that is no part of the table's primary key, if it
// has one: an UPDATE of that would be another context, or another key.
void warn_of_updates(Relation table, const SealedAs& sealed_as);

// The same of the context that values have until they are moved.
void warn_of_updates_meanwhile(Relation table, const char* context_expression);

// WARNING for each of the relation's tables whose column has a DEFAULT, which goes on to seal as it
// was written. `hint`: what is to be done about it.
void warn_of_defaults(Oid relation, const char* column, const char* hint);

// The registered column whose context or key is over the column of that name in rows of the
// relation; nullptr: none.
const RegisteredColumn* sealed_under(Oid relation, const char* column);

// 42P10 where a trigger before the row is written would see another context than the row has in the
// end. Plans as the table's owner.
void require_context_at_hand(Oid relation, const char* context);

// Whether the expression, as it is stored, is over the table's column; nullptr: over none. Plans as
// the table's owner.
bool is_over(Relation table, const char* expression, AttrNumber attribute);

// Whether its values are opened with what stands in the table's column. Plans as the table's owner.
bool is_opened_with(Relation table, AttrNumber attribute, const RegisteredColumn& column);

// How its values come away from the column that their context or key is over: sentences of a HINT.
const char* how_to_come_away(const RegisteredColumn& sealed);

// The table's columns that contexts and keys of other values are over than those of `column`, but
// for those that are kept in step with a plaintext: these are sealed anew whenever their row is
// written. nullptr: there are none.
const Bitmapset* in_other_contexts(Relation table, const char* column);

}  // namespace kms::pg
