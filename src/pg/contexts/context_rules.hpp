// What a registered expression may be, beside one that PostgreSQL takes: PostgreSQL side.
#pragma once

#include "pg/server/arguments.hpp"

namespace kms::pg {

constexpr const char* how_to_make_bytes = "Write convert_to(..., 'UTF8') around a text.";

// What an expression is over, as PostgreSQL's sets of columns have it.
Bitmapset* columns_in(Node* node);

// Visits each column of such a set, which has the table's own alone.
template <typename Visit>
void for_each_column(Relation table, const Bitmapset* columns, Visit&& visit) {
    int member = -1;
    while ((member = bms_next_member(columns, member)) >= 0) {
        const int attribute = member + FirstLowInvalidHeapAttributeNumber;
        visit(*TupleDescAttr(RelationGetDescr(table), attribute - 1));
    }
}

// 42P10 where it is over system columns, the whole row, or `attribute`, the sealed one;
// InvalidAttrNumber: whichever that is.
void require_other_columns(Node* node, AttrNumber attribute);

// 0A000 where it casts a text to bytea, which reads a backslash as the beginning of another byte.
void require_distinct_bytes(Node* node);

// 22004 or 22023 where it is the same for all rows, and of no use for any. `plan`: as it is
// planned. `check` raises what is wrong with the bytes.
void require_usable_constant(Node* plan, void (*check)(ByteView bytes));

// 0A000 where it is over a generated column that is not stored.
void require_stored_columns(Relation table, Node* node);

// 54000, or 54011: after some commands of anybody's all stored expressions are read, and after
// every command that changes a definition the names and types of their columns are compared.
void require_short(const char* stored);
void require_few_columns(Node* node);
void require_small_types(Relation table, Node* node);

}  // namespace kms::pg
