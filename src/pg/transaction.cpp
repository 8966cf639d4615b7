#include "pg/transaction.hpp"

#include <algorithm>

namespace kms::pg {

void require_writable(const char* function) {
    PreventCommandIfReadOnly(function);
    PreventCommandIfParallelMode(function);
    PreventCommandDuringRecovery(function);
}

void require_read_committed(const char* function) {
    if (IsolationUsesXactSnapshot()) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("%s needs the isolation level READ COMMITTED", function),
                        errhint("BEGIN ISOLATION LEVEL READ COMMITTED, or SET "
                                "default_transaction_isolation.")));
    }
}

void require_nothing_undone(const char* function) {
    PreventCommandDuringRecovery(function);
    if (IsTransactionBlock() || IsSubTransaction() ||
        TransactionIdIsValid(GetTopTransactionIdIfAny())) {
        ereport(ERROR,
                (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                 errmsg("%s cannot run inside a transaction block", function),
                 errdetail("Nothing takes it back, and a ROLLBACK would bring back the rows that "
                           "need what is destroyed."),
                 errhint("Commit first, and call it by itself.")));
    }
}

void require_nothing_changed(const char* function) {
    require_read_committed(function);
    if (TransactionIdIsValid(GetTopTransactionIdIfAny())) {
        ereport(ERROR,
                (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                 errmsg("%s cannot run in a transaction that has changed something", function),
                 errdetail("Others still see the rows of before, and may copy them."),
                 errhint("Commit first, and call it then.")));
    }
}

void make_commits_durable() {
    if (!RecoveryInProgress()) {
        XLogFlush(log_marker("kms"));
    }
}

bool is_locked_by_another(Oid table, LOCKMODE lock) {
    LOCKTAG tag;
    SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
    int count = 0;
    int running_count = 0;
    const VirtualTransactionId* holders = GetLockConflicts(&tag, lock, &count);
    const VirtualTransactionId* running = other_transactions(InvalidTransactionId, running_count);
    return std::any_of(holders, holders + count, [&](const VirtualTransactionId& holder) {
        return VirtualTransactionIdIsRecoveredPreparedXact(holder) ||
               std::any_of(running, running + running_count, [&](const VirtualTransactionId& each) {
                   return VirtualTransactionIdEquals(each, holder);
               });
    });
}

const VirtualTransactionId* other_transactions(TransactionId oldest, int& count) {
    return GetCurrentVirtualXIDs(oldest, TransactionIdIsValid(oldest), false,
                                 PROC_IS_AUTOVACUUM | PROC_IN_VACUUM | PROC_IN_SAFE_IC, &count);
}

}  // namespace kms::pg
