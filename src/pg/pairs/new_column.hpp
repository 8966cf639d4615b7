// The column that takes the place of another, once it holds the same values, sealed or opened: what
// encrypt_column and decrypt_column do before the first batch. PostgreSQL side, in an SPI
// connection.
#pragma once

#include "pg/columns/opening.hpp"
#include "pg/pairs/pair.hpp"
#include "pg/rewriting/rewriting.hpp"

namespace kms::pg {

struct NewColumn {
    Oid relation;
    const char* source;
    const char* name;
    Oid type;
    std::int32_t typmod;
    bool opens;
    bool published;    // a published table is no obstacle
    OpensAs opens_as;  // where it opens
};

// The argument, or what it is by default; 42622 where that is too long.
const char* new_column_name(FunctionCallInfo fcinfo, int index, const char* argument,
                            const char* by_default);

// Begins such a procedure's first transaction, behind whoever changes the table, which then may
// have another owner, and its column another name: `source` is the one that was meant. 0A000 where
// the column can never be dropped.
void begin_pair(const Rewriting& run, const char* source);

// As ALTER TABLE takes it, whatever the search_path is.
const char* type_name(Oid type, std::int32_t typmod);

// Its number where an earlier call has added it: its trigger then fires in replicas again. 42701 or
// 55000 where somebody else has, or where the source is kept in step with another column.
AttrNumber find_new_column(const NewColumn& column);

// With the trigger that keeps it in step; 55000 where subscribers would stop at it.
AttrNumber add_new_column(const NewColumn& column);

// What the switch will refuse, before the work that is done for it.
void tell_of_switch(const Pair& pair);

}  // namespace kms::pg
