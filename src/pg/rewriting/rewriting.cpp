// Passes over the column, until no row is left to write.
#include "pg/rewriting/rewriting.hpp"

#include <algorithm>

#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_writers.hpp"

namespace kms::pg {
namespace {

// Passes that write nothing, since others hold the rows that are left: after growing pauses.
constexpr std::int64_t pauses_ms[] = {100, 300, 1000, 2000, 3000};
// Of any kind: somebody may go on sealing with an old key for ever.
constexpr int most_passes = 20;

// The tables that hold rows: partitions, or the relation itself and what inherits from it.
List* tables_of(Oid relation) {
    const List* all = find_all_parts(relation, AccessShareLock);
    List* tables = NIL;
    for (int i = 0; i < list_length(all); ++i) {
        const Oid table = list_nth_oid(all, i);
        if (get_rel_relkind(table) != RELKIND_PARTITIONED_TABLE) {
            tables = lappend_oid(tables, table);
        }
    }
    return tables;
}

void reset_pass(Rewriting& run) {
    run.done_in_pass = 0;
    run.passed_over_in_pass = 0;
    run.hidden_in_pass = 0;
    run.bad_in_pass = {};
    run.failed_in_pass = 0;
}

std::int64_t count_in(const Rewriting& run, Oid oid, const RunKey& key) {
    const Relation table = table_open(oid, AccessShareLock);
    require_own_rows(table);
    const Unwritten unwritten = unwritten_in(run, table, key);
    TupleTableSlot* row = table_slot_create(table, nullptr);
    TableScanDesc scan = begin_scan(table, GetActiveSnapshot());
    std::int64_t count = 0;
    while (table_scan_getnextslot(scan, ForwardScanDirection, row)) {
        count += is_unwritten(unwritten, row) ? 1 : 0;
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    table_close(table, NoLock);
    return count;
}

// All tables in one snapshot, once they are locked: it has each row once, wherever an update moves
// it meanwhile.
template <typename Count>
std::int64_t count_in_all(const Rewriting& run, Count&& count_in_table) {
    LockRelationOid(run.relation, AccessShareLock);
    const List* tables = tables_of(run.relation);
    PushActiveSnapshot(GetLatestSnapshot());
    std::int64_t count = 0;
    for (int i = 0; i < list_length(tables); ++i) {
        count += count_in_table(list_nth_oid(tables, i));
    }
    PopActiveSnapshot();
    return count;
}

// Reads headers alone.
std::int64_t count_unwritten(const Rewriting& run, const RunKey& key) {
    return count_in_all(run, [&](Oid table) { return count_in(run, table, key); });
}

// Looks at every row, since headers alone tell neither contexts nor what rows name: in a move it
// opens every value.
std::int64_t count_by_looking(Rewriting& run) {
    return count_in_all(run, [&](Oid table) {
        Rewriting look = run;
        reset_pass(look);
        look_through(look, table);
        run.has_hidden |= look.hidden_in_pass != 0;
        return look.passed_over_in_pass + look.bad_in_pass.count;
    });
}

void commit_and_pause(Rewriting& run, MemoryContext batch_memory, bool wrote) {
    write_progress(run, "rewriting");
    commit_batch();
    MemoryContextReset(batch_memory);
    const bool first_pass = run.done == run.done_in_pass;
    if (wrote || first_pass) {
        tell_progress(run);
    }
    if (wrote) {
        sleep_for(run.pause_ms);
    }
}

void rewrite_table(Rewriting& run, Oid table, MemoryContext batch_memory) {
    for (Place place = {table, false, false, 0, {}}; !place.ended;) {
        const std::int64_t done = run.done;
        MemoryContext run_memory = MemoryContextSwitchTo(batch_memory);
        rewrite_batch(run, place);
        commit_and_pause(run, batch_memory, run.done != done);
        MemoryContextSwitchTo(run_memory);
    }
}

void run_pass(Rewriting& run, MemoryContext batch_memory) {
    reset_pass(run);
    begin_batch();
    const List* tables = tables_of(run.relation);
    commit_batch();
    for (int i = 0; i < list_length(tables) && !run.has_given_up; ++i) {
        rewrite_table(run, list_nth_oid(tables, i), batch_memory);
    }
}

std::int64_t count_all(Rewriting& run) {
    begin_batch();
    const RunKey key = current_key(run, true);
    const std::int64_t count =
        key.is_of_each_row ? count_by_looking(run) : count_unwritten(run, key);
    write_progress(run, "rewriting");
    commit_batch();
    return count;
}

// Until whoever was writing has ended, or as long as locked rows are waited for: rows that were
// made the old way before now are there to be seen then.
void wait_for_writers(Rewriting& run) {
    MemoryContext run_memory = CurrentMemoryContext;
    begin_batch();
    const char* writers = MemoryContextStrdup(run_memory, writers_of(run.relation));
    commit_batch();
    for (std::size_t pause = 0;; ++pause) {
        begin_batch();
        run.open_writers = count_open_writers(run.relation, writers);
        commit_batch();
        if (run.open_writers == 0 || pause == lengthof(pauses_ms)) {
            return;
        }
        sleep_for(pauses_ms[pause]);
    }
}

std::int64_t count_left(Rewriting& run) {
    begin_batch();
    write_progress(run, "verifying");
    commit_batch();
    if (run.is_move()) {
        wait_for_writers(run);
    }
    begin_batch();
    const RunKey key = current_key(run, true);
    const std::int64_t unwritten =
        key.must_look() ? count_by_looking(run) : count_unwritten(run, key);
    commit_batch();
    return std::max<std::int64_t>(unwritten - run.bad_in_pass.count, 0);
}

// An update may move a row behind the scan, and a locked one is passed over: hence the passes.
void run_passes(Rewriting& run, MemoryContext batch_memory) {
    std::size_t idle = 0;
    for (int pass = 0; pass < most_passes; ++pass) {
        run_pass(run, batch_memory);
        if (run.has_given_up) {
            return;
        }
        run.left = count_left(run);
        if (run.left == 0 || run.open_writers != 0) {
            return;
        }
        idle = run.done_in_pass != 0 ? 0 : idle + 1;
        if (idle > lengthof(pauses_ms)) {
            return;
        }
        sleep_for(idle != 0 ? pauses_ms[idle - 1] : 0);
    }
}

void run_all(Rewriting& run) {
    commit_batch();
    begin_batch();
    begin_move(run);
    begin_progress(run);
    commit_batch();
    run.at_once = run.batch;
    run.total = count_all(run);
    run.began = run.told = GetCurrentTimestamp();
    MemoryContext batch_memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms batch", ALLOCSET_DEFAULT_SIZES);
    if (run.total != 0 || run.is_move()) {
        run_passes(run, batch_memory);
    }
    begin_batch();
    require_owner(run.relation);
    if (!run.has_given_up) {
        end_move(run);
    }
    write_progress(run, run.has_given_up ? "stopped" : "finished");
    commit_batch();
}

}  // namespace

// Between the lock, by which others see that a run lives, and its first progress nobody is waited
// for: what they see is that of the run before.
void rewrite_column(Rewriting& run) {
    run.began_with = &registration_of(run);
    run.current_tags = make_current_tags();
    lock_run(run);
    PG_TRY();
    { run_all(run); }
    PG_CATCH();
    {
        unlock_run(run);
        PG_RE_THROW();
    }
    PG_END_TRY();
    unlock_run(run);
    tell_end(run);
}

}  // namespace kms::pg
