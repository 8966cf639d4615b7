#include "pg/pairs/older_snapshots.hpp"

#include "pg/columns/registry.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/callers_portals.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/transaction.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

constexpr int tries = 50;
constexpr std::int64_t pause_milliseconds = 20;

// Of a version that no other session has seen there is nothing to be missed.
bool was_committed(const HeapTupleHeaderData& version) {
    return TransactionIdDidCommit(HeapTupleHeaderGetXmin(&version));
}

// By whom the version was replaced or deleted. Invalid: it was not.
TransactionId ended_by(HeapTupleHeader version) {
    if ((version->t_infomask & HEAP_XMAX_INVALID) != 0 ||
        HEAP_XMAX_IS_LOCKED_ONLY(version->t_infomask)) {
        return InvalidTransactionId;
    }
    const TransactionId xid = HeapTupleHeaderGetUpdateXid(version);
    return TransactionIdIsCurrentTransactionId(xid) || TransactionIdDidCommit(xid)
               ? xid
               : InvalidTransactionId;
}

TransactionId later(TransactionId one, TransactionId other) {
    return !TransactionIdIsValid(one) || TransactionIdFollows(other, one) ? other : one;
}

TransactionId unfilled_until(Relation table, AttrNumber from, AttrNumber to) {
    TransactionId last = InvalidTransactionId;
    TupleTableSlot* row = table_slot_create(table, nullptr);
    TableScanDesc scan = begin_scan(table, SnapshotAny);
    while (table_scan_getnextslot(scan, ForwardScanDirection, row)) {
        CHECK_FOR_INTERRUPTS();
        if (!slot_attisnull(row, from) && slot_attisnull(row, to)) {
            bool is_copy = false;
            const HeapTuple tuple = ExecFetchSlotHeapTuple(row, false, &is_copy);
            const TransactionId end = ended_by(tuple->t_data);
            if (TransactionIdIsValid(end) && was_committed(*tuple->t_data)) {
                last = later(last, end);
            }
        }
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    return last;
}

// The transaction that ended the last version of a row with a value in the column that goes, and
// none in the other. Invalid: there is no such version any more, so that nobody sees one.
TransactionId unfilled_until(const Pair& pair) {
    TransactionId last = InvalidTransactionId;
    for (const PairTable& each : pair.tables) {
        const Relation table = open_unchanged(pair, each);
        if (RELKIND_HAS_STORAGE(table->rd_rel->relkind)) {
            const TransactionId end =
                unfilled_until(table, pair.from(each).number, pair.to(each).number);
            last = TransactionIdIsValid(end) ? later(last, end) : last;
        }
        table_close(table, NoLock);
    }
    return last;
}

// Those of others that may not see what `last` has done: their snapshots regard a transaction as
// running that is not newer. As pg_locks shows them.
Datum transactions_before(TransactionId last, int& count) {
    const VirtualTransactionId* running = other_transactions(last, count);
    auto* shown = allocate_many<Datum>(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        shown[i] = CStringGetTextDatum(shown_transaction(running[i]));
    }
    return PointerGetDatum(construct_array(shown, count, TEXTOID, -1, false, TYPALIGN_INT));
}

// Empty where they have ended since.
const char* processes_of(Datum transactions) {
    Oid types[] = {TEXTARRAYOID};
    const MemoryContext caller_memory = CurrentMemoryContext;
    const Caller caller = act_as_owner_of(registered_column_table());
    SPI_connect();
    if (SPI_execute_with_args("SELECT coalesce(string_agg(DISTINCT pid::text, ', '), '')"
                              " FROM pg_locks WHERE locktype = 'virtualxid' AND granted"
                              " AND virtualtransaction = ANY ($1)",
                              lengthof(types), types, &transactions, nullptr, true,
                              1) != SPI_OK_SELECT) {
        elog(ERROR, "could not read pg_locks");
    }
    const char* found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
    const char* processes = MemoryContextStrdup(caller_memory, found);
    SPI_finish();
    act_as(caller);
    return processes;
}

// nullptr: nobody is. Whoever has ended since may have handed its snapshot on: that is another
// look.
const char* processes_before(TransactionId last) {
    int count = 0;
    const Datum transactions = transactions_before(last, count);
    return count == 0 ? nullptr : processes_of(transactions);
}

const char* outlast_statements(TransactionId last) {
    const char* processes = processes_before(last);
    for (int i = 1; i < tries && processes != nullptr; ++i) {
        sleep_for(pause_milliseconds);
        processes = processes_before(last);
    }
    return processes;
}

// Nobody waits for himself. A snapshot that is exported can be taken over as long as this
// transaction lasts.
void require_none_of_own(const Pair& pair, TransactionId last) {
    const Snapshot of_cursors = oldest_snapshot_of_cursors();
    const bool is_held =
        of_cursors != nullptr && TransactionIdPrecedesOrEquals(of_cursors->xmin, last);
    if (is_held || XactHasExportedSnapshots()) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_IN_USE),
                 errmsg("this transaction may still see rows of \"%s\" as they were before column "
                        "\"%s\" was filled",
                        get_rel_name(pair.relation), pair.to()),
                 errdetail("Without column \"%s\" they would read NULL, by %s.", pair.from(),
                           is_held ? "an open cursor" : "the snapshot that it has exported"),
                 errhint("Call it in a transaction of its own.")));
    }
}

}  // namespace

void require_no_older_snapshot(const Pair& pair) {
    const TransactionId last = unfilled_until(pair);
    if (!TransactionIdIsValid(last)) {
        return;
    }
    require_none_of_own(pair, last);
    const char* processes = outlast_statements(last);
    if (processes != nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_IN_USE),
                 errmsg("transactions may still see rows of \"%s\" as they were before column "
                        "\"%s\" was filled",
                        get_rel_name(pair.relation), pair.to()),
                 errdetail("Without column \"%s\" they would read NULL. Processes: %s.",
                           pair.from(), processes),
                 errhint("Let them end, and whatever has written since before then and goes on, in "
                         "any database: backend_xid in pg_stat_activity, and pg_prepared_xacts. "
                         "Then call it again.")));
    }
}

}  // namespace kms::pg
