// The caller's cursors while foreign code runs, and what such code leaves open. PostgreSQL finds
// them by name, whosever they are: it would let that code fetch from a cursor of the caller's, move
// it, or put one of its own in its place, which then runs as the caller. And it runs a pinned one,
// or one WITH HOLD, to its end at the next COMMIT, in the name of whoever that is; PL/Perl and
// PL/Python pin those that they open. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// As it was before.
struct CallersPortal {
    Portal portal;
    PortalStatus status;
    bool is_pinned;
};

struct CallersPortals {
    CallersPortal* all;
    int count;
};

// Nobody fetches from any that is there, moves it, or closes it, until it is put back.
CallersPortals shut_portals();

// Closes those that have been opened since, in the name of the current role.
void end_new_portals(const CallersPortals& before);

void put_back_portals(const CallersPortals& before);

// The oldest snapshot that a cursor of this session reads by, other than what is being run;
// nullptr: there is none. What others have changed since, it still shows as it was.
Snapshot oldest_snapshot_of_cursors();

}  // namespace kms::pg
