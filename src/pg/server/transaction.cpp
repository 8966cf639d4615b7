#include "pg/server/transaction.hpp"

#include <algorithm>

namespace kms::pg {
namespace {

// Of those that PostgreSQL waits for, by synchronous_commit; SYNC_REP_NO_WAIT: for none.
int awaited_confirmation() {
    if (!SyncRepRequested() || !has_synchronous_standbys()) {
        return SYNC_REP_NO_WAIT;
    }
    return synchronous_commit == SYNCHRONOUS_COMMIT_REMOTE_WRITE   ? SYNC_REP_WAIT_WRITE
           : synchronous_commit == SYNCHRONOUS_COMMIT_REMOTE_APPLY ? SYNC_REP_WAIT_APPLY
                                                                   : SYNC_REP_WAIT_FLUSH;
}

bool is_confirmed(XLogRecPtr commit) {
    const int confirmation = awaited_confirmation();
    if (confirmation == SYNC_REP_NO_WAIT) {
        return true;
    }
    LWLockAcquire(SyncRepLock, LW_SHARED);
    const XLogRecPtr confirmed = WalSndCtl->lsn[confirmation];
    LWLockRelease(SyncRepLock);
    return commit <= confirmed;
}

}  // namespace

void require_writable(const char* function) {
    PreventCommandIfReadOnly(function);
    PreventCommandIfParallelMode(function);
    PreventCommandDuringRecovery(function);
}

void require_not_read_only(const char* function) {
    if (!RecoveryInProgress()) {
        PreventCommandIfReadOnly(function);
    }
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

// A transaction without a number waits for nobody, though it may have logged what it found to tidy
// up on the pages that it read.
void commit_here() {
    const bool is_awaited = TransactionIdIsValid(GetTopTransactionIdIfAny());
    SPI_commit();
    if (is_awaited && !is_confirmed(XactLastCommitEnd)) {
        ereport(
            ERROR,
            (errcode(ERRCODE_QUERY_CANCELED),
             errmsg("canceled while a synchronous standby was waited for"),
             errdetail("What is done so far is committed here, and may not be on the standby."),
             errhint("Call it again when the standby is there: it goes on with what is left.")));
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
