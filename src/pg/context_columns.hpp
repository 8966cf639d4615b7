// The columns that context expressions use, known by their numbers: their names and types change.
// Nothing of anybody's is evaluated. Act one.
#pragma once

#include <cstdint>
#include <span>

#include "pg/pg.hpp"

namespace kms::pg {

struct ContextColumn {
    const char* name;  // as the expressions have it
    AttrNumber attribute;
    const char* type;  // as `context_type` had it
};

// What contexts are made of: text is the same whatever its length may be. By number, since a type
// and its schema may get other names.
const char* context_type(Oid type, std::int32_t modifier);

// Whether values of the type may hold some of the other one: an array, a domain, a row of it.
bool is_made_of(Oid type, Oid part);

// What is registered of contexts.
struct Contexts {
    const char* now;  // nullptr: the empty context
    const char* was;
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
