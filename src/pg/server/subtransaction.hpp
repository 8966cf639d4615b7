// Work that may fail by itself, and leaves the transaction to go on. PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

enum class Outcome { stays, is_undone };

// nullptr: all is well, and what `body` has changed and locked stays, or is undone and let go of.
// Else it is undone, and its error is returned, in the caller's memory. Whatever the error is, the
// transaction outside must not end with the subtransaction open.
template <typename Body>
ErrorData* error_in_subtransaction(Body&& body, Outcome outcome = Outcome::stays) {
    MemoryContext caller = CurrentMemoryContext;
    ResourceOwner resources = CurrentResourceOwner;
    MemoryContext memory =
        AllocSetContextCreate(caller, "kms subtransaction", ALLOCSET_DEFAULT_SIZES);
    ErrorData* error = nullptr;
    BeginInternalSubTransaction(nullptr);
    PG_TRY();
    {
        MemoryContextSwitchTo(memory);
        body();
        if (outcome == Outcome::stays) {
            ReleaseCurrentSubTransaction();
        } else {
            RollbackAndReleaseCurrentSubTransaction();
        }
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(caller);
        error = CopyErrorData();
        FlushErrorState();
        RollbackAndReleaseCurrentSubTransaction();
    }
    PG_END_TRY();
    MemoryContextSwitchTo(caller);
    CurrentResourceOwner = resources;
    MemoryContextDelete(memory);
    return error;
}

// Lets go of the tables that were looked at: whoever waits then shall not keep others from them.
template <typename Act>
void without_keeping_locks(Act&& act) {
    if (ErrorData* error = error_in_subtransaction(act, Outcome::is_undone)) {
        ReThrowError(error);
    }
}

}  // namespace kms::pg
