// Work in the name of the extension's owner, whatever the caller may do: act one.
#pragma once

#include <cstdint>

#include "pg/pg.hpp"

namespace kms::pg {

struct Caller {
    Oid role;
    int security;
    int settings;
};

// With search_path = pg_catalog, pg_temp. `table`: one of the extension's own. An error before
// act_as() ends the (sub)transaction, which puts all of it back.
Caller act_as_owner_of(Oid table);

void act_as(const Caller& caller);

// A statement that changes the extension's table `table`: changes what is there now, whatever the
// transaction's snapshot shows, since locks may have been taken after it. `nulls`: a letter each,
// 'n' for a NULL; nullptr: there is none. The number of rows.
struct Change {
    Oid table;
    const char* statement;
    int parameters;
    Oid* types;
    Datum* values;
    const char* nulls = nullptr;
};
std::uint64_t change_as_owner(const Change& change);

// The search_path alone, until the level that is returned is given to AtEOXact_GUC(false, level).
int fix_search_path();

}  // namespace kms::pg
