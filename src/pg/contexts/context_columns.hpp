// The columns that registered expressions use, known by their numbers: their names and types
// change. Nothing of anybody's is evaluated. PostgreSQL side.
#pragma once

#include <cstdint>
#include <span>

#include "pg/server/pg.hpp"

namespace kms::pg {

struct ContextColumn {
    const char* name;  // as the expressions have it
    AttrNumber attribute;
    const char* type;  // as `context_type` had it
};

// What is registered of contexts, and of a key that each row names.
struct Contexts {
    const char* now;  // nullptr: the empty context
    const char* was;
    const char* key;     // nullptr: all rows have one key
    bool is_moving;      // there are values of both
    const char* broken;  // why they no longer say what they did; nullptr: they do
};

struct ContextsToday {
    Contexts contexts;
    std::span<const char* const> names;  // of the columns, in order
    bool is_stale;                       // what is registered says it otherwise
};

// With the names that the columns have today.
ContextsToday contexts_today(const Contexts& contexts, Oid relation,
                             std::span<const ContextColumn> columns);

}  // namespace kms::pg
