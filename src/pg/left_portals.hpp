// Cursors that foreign code leaves open. PostgreSQL runs a pinned one, or one WITH HOLD, to its end
// at the next COMMIT of a procedure or a DO block, in the name of whoever that is: code of a
// table's owner, in a superuser's. PL/Perl and PL/Python pin the cursors that they open. Acts one
// and three.
#pragma once

#include "pg/pg.hpp"

namespace kms::pg {

// The names of those that a COMMIT would run. Nobody gets a name that PostgreSQL gives twice.
struct Portals {
    List* names;
};

// Of the caller, whose loops go on.
Portals portals_to_keep();

// Ends all others, in the name of the current role.
void end_other_portals(const Portals& kept);

}  // namespace kms::pg
