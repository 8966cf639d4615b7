// How a value becomes the bytes that are sealed: itself, or its text. PostgreSQL side.
#pragma once

#include <optional>

#include "pg/server/arguments.hpp"
#include "pg/values/text_settings.hpp"

namespace kms::pg {

struct ValueBytes {
    TextDependsOn depends_on;
    ExprState* bytes;  // bytea or text
    ExprContext* row;
};

// What is sealed of a value: itself, or its text. Nothing of it is lost: where the type has a cast
// to text that somebody has written, it is what a dump writes that is sealed.
Node* as_bytes(Node* value);

// Whether that is the text that a dump writes, and no cast says it.
bool is_sealed_as_dumped(Node* value);

// Of an expression, over a row or none. Lives in the current memory.
ValueBytes prepare_expression(Node* value);

// Of any value of a type, which is not NULL. The settings are the session's.
ValueBytes prepare_values(Oid type, std::int32_t typmod);
ByteView bytes_of_value(const ValueBytes& values, Datum value);

// The same whatever the session's settings are.
ByteView lasting_bytes_of_value(const ValueBytes& values, Datum value);

// A number as PostgreSQL writes it, with the zeros at its end that are not sealed; nothing of other
// types.
std::optional<ByteView> written_number(Oid type, Datum value);

// Of the row that `slot` holds, nullptr for none; nothing for NULL. Views are of the slot's memory
// or the current. A text is the same whatever the session's settings are; they are put back before
// it returns, so that neither triggers nor other expressions see others than their own.
std::optional<ByteView> bytes_of_row(const ValueBytes& values, TupleTableSlot* slot);

// What an expression of bytea or text gives, with the session's settings; nothing for NULL.
std::optional<ByteView> evaluate(ExprState* expression, ExprContext* row, TupleTableSlot* slot);

}  // namespace kms::pg
