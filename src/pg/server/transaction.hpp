// In what transaction a function may be called: PostgreSQL side.
#pragma once

#include "pg/server/pg.hpp"

namespace kms::pg {

// Refuses, in the name of `function`, where nothing can be written: before an agent is asked for
// what ROLLBACK does not undo.
void require_writable(const char* function);

// The same of what changes the agent's keys, which a standby may have done: 25006 in a transaction
// that somebody has made READ ONLY.
void require_not_read_only(const char* function);

// 25001 where a snapshot of before would not show what others have written until a lock was had.
void require_read_committed(const char* function);

// 25001 in a transaction block, or where the statement has changed something, and on a standby:
// what cannot be taken back must not rely on what a ROLLBACK takes back, nor on what is not there
// yet.
void require_nothing_undone(const char* function);

// 25001 where the transaction has changed something: others still see the rows of before, and copy
// them; and where it sees for itself what others have deleted.
void require_nothing_changed(const char* function);

// What has been committed here is on disk, whatever synchronous_commit says: no crash brings it
// back.
void make_commits_durable();

// Ends the transaction of a procedure and begins the next. 57014 where a synchronous standby was
// waited for in vain: PostgreSQL takes a cancel, or statement_timeout, for the end of that wait
// alone, and goes on with a WARNING.
void commit_here();

// Of other sessions of this database, but for those that vacuum: `oldest`: only those whose
// snapshot may be as old; else all.
const VirtualTransactionId* other_transactions(TransactionId oldest, int& count);

// Whether one of them, or a prepared one, has a lock on the table that conflicts with `lock`.
bool is_locked_by_another(Oid table, LOCKMODE lock);

}  // namespace kms::pg
