// From the bytes that were sealed of a value to the value of a column's type: PostgreSQL side.
#pragma once

#include "pg/values/value_bytes.hpp"

namespace kms::pg {

struct PlainInput {
    Oid type;
    std::int32_t typmod;
    Oid parameter;
    FmgrInfo function;  // not for bytea
    ValueBytes back;    // from the value to the bytes
};

PlainInput prepare_input(Relation table, AttrNumber attribute);
PlainInput prepare_input(Oid type);

// With the settings that values are sealed with: bytea as it is, any other type by its input. 22021
// where the bytes are no text; where they are no value of the type, the SQLSTATE of its own error
// if that is of class 22 or 23, else 22P02: without its message, which would show them. 22023 where
// the type keeps less than all of it, so that sealing the value would not give the same bytes.
Datum value_of_bytes(PlainInput& input, ByteView bytes);

// The same for whoever only looks at it: the type may keep less.
Datum value_as(PlainInput& input, ByteView bytes);

}  // namespace kms::pg
