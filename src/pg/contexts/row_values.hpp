// What is sealed of a table's row: a column's value as bytes, the row's context, and the key that
// it names. PostgreSQL side.
#pragma once

#include "pg/values/value_bytes.hpp"

namespace kms::pg {

struct RowValues {
    ValueBytes value;    // the column's
    ExprState* context;  // nullptr: the empty one
    ExprState* key;      // nullptr: no row names one
};

// Expressions as they are registered, nullptr for none.
struct RowExpressions {
    const char* context;
    const char* key;
};

// Lives in the current memory.
RowValues prepare_row_values(Relation table, AttrNumber column, const RowExpressions& expressions);

// Of the row that `slot` holds; nothing for NULL. Views are of the slot's memory or the current.
std::optional<ByteView> context_of_row(const RowValues& values, TupleTableSlot* slot);

// What names the row's key, which may be no identifier: `of_all` where no row names one; nothing
// for NULL.
std::optional<ByteView> key_of_row(const RowValues& values, TupleTableSlot* slot, ByteView of_all);

}  // namespace kms::pg
