// Work in another's name than the caller's: in the name of the extension's owner, whatever the
// caller may do; and what the owner of a user's table has written, in that owner's. PostgreSQL
// side.
#pragma once

#include <cstdint>

#include "pg/server/callers_portals.hpp"
#include "pg/server/pg.hpp"

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

// --- what the owner of a user's table has written

// Context expressions, casts, index expressions, constraints, triggers: whoever maintains the table
// runs them, a superuser perhaps. As VACUUM, REINDEX and REFRESH do: as the table's owner, in a
// SECURITY_RESTRICTED_OPERATION, with search_path = pg_catalog, pg_temp; and no key is bound to a
// local id meanwhile. Whatever settings that code changes are as they were afterwards. It reaches
// no cursor of the caller's, those that it leaves open are closed, and it makes nothing in pg_temp
// (42501). Errors for the lack of a name get a HINT.
//
// No transaction begins or ends meanwhile, but subtransactions that begin and end inside. An error
// ends the (sub)transaction it is entered in, which leaves it.
struct OwnersCode {
    Caller caller;
    CallersPortals portals;
    ErrorContextCallback* outer;
    ErrorContextCallback hint;
};

// `callers`: what has just been written by the caller names things by the caller's search_path.
enum class SearchPath { safe, callers };

void enter_owners_code(OwnersCode& code, Oid role, SearchPath path = SearchPath::safe);
void leave_owners_code(const OwnersCode& code);
void abandon_owners_code(const OwnersCode& code);  // with an error

// `body()` is foreign code and nothing else: who asks the key agent is the caller.
template <typename Body>
void run_owners_code(Oid role, Body&& body, SearchPath path = SearchPath::safe) {
    OwnersCode code;
    enter_owners_code(code, role, path);
    PG_TRY();
    {
        body();
        end_new_portals(code.portals);
    }
    PG_CATCH();
    {
        abandon_owners_code(code);
        PG_RE_THROW();
    }
    PG_END_TRY();
    leave_owners_code(code);
}

// When the library is loaded: watches what owners' code makes.
void watch_owners_code();

// A command that answers nothing, in an SPI connection. XX000 where SPI does not take it; what the
// command raises is raised as it is.
void run_command(const char* command);

Oid owner_of(Oid table);  // 42P01 where there is none

bool caller_owns(Oid table);    // as member of the owning role too, or as superuser
void require_owner(Oid table);  // 42501

// The search_path alone, until the level that is returned is given to AtEOXact_GUC(false, level).
int fix_search_path();

// Within a level of settings, which ends with it.
void set_meanwhile(const char* setting, const char* value);

}  // namespace kms::pg
