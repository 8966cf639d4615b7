// What is sealed of a table's row: a column's value as bytes, the row's context, and the key that
// it names. Act one.
#pragma once

#include "pg/arguments.hpp"
#include "pg/text_settings.hpp"

namespace kms::pg {

struct RowValues {
    TextDependsOn depends_on;
    ExprState* bytes;    // of the column: bytea or text
    ExprState* context;  // nullptr: the empty one
    ExprState* key;      // nullptr: no row names one
    ExprContext* row;
};

// Expressions as they are registered, nullptr for none.
struct RowExpressions {
    const char* context;
    const char* key;
};

// Lives in the current memory.
RowValues prepare_row_values(Relation table, AttrNumber column, const RowExpressions& expressions);

// What is sealed of a value: itself, or its text. Nothing of it is lost: where the type has a cast
// to text that somebody has written, it is what a dump writes that is sealed.
Node* as_bytes(Node* value);

// Whether that is the text that a dump writes, and no cast says it.
bool is_sealed_as_dumped(Node* value);

// The same of an expression that is over no row: bytes_of_row() of no slot.
RowValues prepare_constant(Node* value);

// The same of any value of a type, which is not NULL. The settings are the session's.
RowValues prepare_values(Oid type, std::int32_t typmod);
ByteView bytes_of_value(const RowValues& values, Datum value);

// A number as PostgreSQL writes it, with the zeros at its end that are not sealed; nothing of other
// types.
std::optional<ByteView> written_number(Oid type, Datum value);

// The same whatever the session's settings are.
ByteView lasting_bytes_of_value(const RowValues& values, Datum value);

// Of the row that `slot` holds; nothing for NULL. Views are of the slot's memory or the current.
// A text is the same whatever the session's settings are; they are put back before it returns, so
// that neither triggers nor the context expression see others than their own.
std::optional<ByteView> bytes_of_row(const RowValues& values, TupleTableSlot* slot);
std::optional<ByteView> context_of_row(const RowValues& values, TupleTableSlot* slot);

// What names the row's key, which may be no identifier: `of_all` where no row names one; nothing
// for NULL.
std::optional<ByteView> key_of_row(const RowValues& values, TupleTableSlot* slot, ByteView of_all);

}  // namespace kms::pg
