// From the bytes that were sealed of a value to the value of a column's type: acts one and three.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

struct PlainInput {
    Oid type;
    std::int32_t typmod;
    Oid parameter;
    bool text_depends;  // on settings
    FmgrInfo function;  // not for bytea
};

PlainInput prepare_input(Relation table, AttrNumber attribute);

// bytea as it is, any other type by its input. 22021 where the bytes are no text, and the SQLSTATE
// of the type's own error where they are no value of it: without its message, which would show
// them.
Datum value_of_bytes(PlainInput& input, ByteView bytes);

}  // namespace kms::pg
