// One batch: a range of the table, in subtransactions. Where one fails for a row's sake, fewer rows
// are tried, until the row stands alone and is passed over.
#include <algorithm>

#include "crypto/sealed.hpp"
#include "pg/columns/sealed_contexts.hpp"
#include "pg/rewriting/attempt.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

// As much of a table as one transaction looks through: it is short where rows need nothing too.
constexpr BlockNumber window = 8192;
// Subtransactions in one transaction: as many as a backend shows to others without looking them up
// (PGPROC_MAX_CACHED_SUBXIDS), but for a few that triggers may make.
constexpr int most_attempts = 60;
// Rows that are passed over for their errors, before it is no more their fault.
constexpr std::int64_t most_failed = 1000;
constexpr int failed_share = 10;  // of a batch: one in so many
constexpr int failed_at_least = 10;

Batch open_batch(Rewriting& run, Relation table, bool only_looks) {
    const RunKey key = current_key(run);
    Unwritten unwritten = unwritten_in(run, table, key);
    unwritten.any |= only_looks;
    return {
        .run = run,
        .table = table,
        .owner = owner_of(run.relation),
        .key = key,
        .unwritten = unwritten,
        .in_other_contexts = in_other_contexts(table, get_attname(run.relation, run.target, false)),
        .only_looks = only_looks};
}

// --- errors

// What is of one row in a class that else is not: somebody's trigger may not, a text is no query,
// a value is longer than any memory, another value cannot be opened.
bool is_a_rows_in_its_class(int sqlstate) {
    constexpr int ones[] = {ERRCODE_INSUFFICIENT_PRIVILEGE,
                            ERRCODE_SYNTAX_ERROR,
                            ERRCODE_INTERNAL_ERROR,
                            sqlstate::wrong_key,
                            sqlstate::corrupt,
                            sqlstate::malformed,
                            sqlstate::disabled};
    return std::ranges::find(ones, sqlstate) != std::end(ones);
}

// Of this server or another, of the key agent, of whoever has cancelled, of two transactions; and a
// name that is not found, which is every row's.
bool is_of_a_rows_surroundings(int sqlstate) {
    return sqlstate::is_of_class(
        sqlstate, {ERRCODE_CONNECTION_EXCEPTION, ERRCODE_INVALID_TRANSACTION_STATE,
                   ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, ERRCODE_INVALID_CATALOG_NAME,
                   ERRCODE_INVALID_SCHEMA_NAME, ERRCODE_TRANSACTION_ROLLBACK,
                   ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION, ERRCODE_INSUFFICIENT_RESOURCES,
                   ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, ERRCODE_OPERATOR_INTERVENTION,
                   ERRCODE_SYSTEM_ERROR, ERRCODE_CONFIG_FILE_ERROR, ERRCODE_FDW_ERROR,
                   sqlstate::not_bound, ERRCODE_INTERNAL_ERROR});
}

// Another has written what may be a duplicate, and has not committed it.
bool is_held(const Attempt& attempt, const ErrorData& error) {
    return attempt.waits_briefly && error.sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

// nullptr: all is well. Raises what is not about a row.
const ErrorData* try_rows(Batch& batch, ItemPointerData end, Attempt& attempt) {
    ErrorData* error = error_in_subtransaction([&] { rewrite_rows(batch, end, attempt); });
    const bool is_a_rows = attempt.is_in_owners_code && attempt.taken != 0;
    if (error != nullptr &&
        !(is_a_rows && (is_about_a_row(error->sqlerrcode) || is_held(attempt, *error)))) {
        ReThrowError(error);
    }
    return error;
}

// --- rows

void note_success(Rewriting& run, Place& place, const Attempt& attempt) {
    place.next = attempt.next;
    run.done += attempt.done;
    run.done_in_pass += attempt.done;
    run.passed_over_in_pass += attempt.passed_over;
    run.hidden_in_pass += attempt.hidden;
    run.taken_in_batch += attempt.taken;
    add_bad(run.bad_in_pass, attempt.bad);
    run.at_once = std::min(2 * run.at_once, run.batch);
}

void note_failed(const Batch& batch, Place& place, ItemPointerData row, const ErrorData& error) {
    Rewriting& run = batch.run;
    note_bad(run.bad_in_pass, RelationGetRelid(batch.table), row, error.sqlerrcode, error.message);
    place.next = place_behind(row);
    ++run.taken_in_batch;
    ++run.failed_in_batch;
    ++run.failed_in_pass;
    run.has_given_up = run.failed_in_pass >= most_failed ||
                       run.failed_in_batch > std::max(run.batch / failed_share, failed_at_least);
}

void note_held(Rewriting& run, Place& place, ItemPointerData row) {
    place.next = place_behind(row);
    ++run.taken_in_batch;
    ++run.passed_over_in_pass;
}

// What raises may be the context of before, of a row that has been moved, or moved back, and needs
// it no more.
bool is_done_without_before(Batch& batch, Place& place, ItemPointerData end) {
    Attempt attempt = {};
    attempt.most = 1;
    attempt.next = place.next;
    attempt.without_before = true;
    if (try_rows(batch, end, attempt) != nullptr || attempt.bad.count != 0) {
        return false;
    }
    note_success(batch.run, place, attempt);
    return true;
}

// False: the transaction is to end before it waits once more, with rows locked.
bool rewrite_some_rows(Batch& batch, Place& place, ItemPointerData end) {
    Rewriting& run = batch.run;
    Attempt attempt = {};
    attempt.most = std::min(run.at_once, run.batch - run.taken_in_batch);
    attempt.next = place.next;
    const ErrorData* error = try_rows(batch, end, attempt);
    const bool was_held = error != nullptr && is_held(attempt, *error);
    if (error == nullptr) {
        note_success(run, place, attempt);
    } else if (attempt.taken > 1) {
        run.at_once = attempt.taken / 2;
    } else if (was_held) {
        note_held(run, place, attempt.last);
    } else if (!batch.key.is_moving || !is_done_without_before(batch, place, end)) {
        note_failed(batch, place, attempt.last, *error);
    }
    return !was_held;
}

// --- where the pass stands

void begin_at(Place& place, Relation table) {
    place.end = RelationGetNumberOfBlocks(table);
    place.begun = true;
    ItemPointerSet(&place.next, 0, FirstOffsetNumber);
}

// The last place of the window.
ItemPointerData end_of_window(const Place& place) {
    const BlockNumber next = ItemPointerGetBlockNumberNoCheck(&place.next);
    ItemPointerData end;
    ItemPointerSet(&end, std::min(place.end - next, window) + next - 1, MaxOffsetNumber);
    return end;
}

void begin_new_batch(Rewriting& run) {
    run.taken_in_batch = 0;
    run.failed_in_batch = 0;
}

// A batch in which rows fail may take more than one transaction.
void rewrite_window(Batch& batch, Place& place) {
    Rewriting& run = batch.run;
    ItemPointerData end = end_of_window(place);
    for (int attempts = 0; attempts < most_attempts; ++attempts) {
        const bool goes_on = rewrite_some_rows(batch, place, end);
        const bool is_at_end = ItemPointerCompare(&place.next, &end) > 0;
        if (is_at_end || run.taken_in_batch >= run.batch) {
            begin_new_batch(run);
            return;
        }
        if (run.has_given_up || !goes_on) {
            return;
        }
    }
}

void rewrite_some(Rewriting& run, Relation table, Place& place, bool only_looks) {
    // Since the last commit there may be triggers, keys and policies that were not.
    require_rewritable_table(run, table);
    if (!place.begun) {
        begin_at(place, table);
    }
    if (place.end != 0) {
        Batch batch = open_batch(run, table, only_looks);
        rewrite_window(batch, place);
    }
    place.ended = run.has_given_up || ItemPointerGetBlockNumberNoCheck(&place.next) >= place.end;
}

bool is_under(varlena* value, ByteView tag) {
    if (stands_in_its_row(value)) {
        return begins_under(bytes_of_packed(value), tag);
    }
    varlena* beginning = pg_detoast_datum_slice(value, 0, sealed_beginning);
    const bool is_under = begins_under(bytes_of_packed(beginning), tag);
    pfree(beginning);
    return is_under;
}

}  // namespace

bool is_about_a_row(int sqlstate) {
    return is_a_rows_in_its_class(sqlstate) || !is_of_a_rows_surroundings(sqlstate);
}

AttrNumber column_in(const Rewriting& run, Relation table, AttrNumber column) {
    const char* name = get_attname(run.relation, column, true);
    if (name == nullptr || get_attnum(run.relation, name) != column) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("a column of \"%s\" has been dropped while %s was running",
                               get_rel_name(run.relation), run.procedure)));
    }
    return attribute_named(table, name);
}

Unwritten unwritten_in(const Rewriting& run, Relation table, const RunKey& key) {
    // Somebody may have changed its type since the last batch.
    require_bytea(table, column_in(run, table, run.registered()));
    return {.source = column_in(run, table, run.source),
            .target = column_in(run, table, run.target),
            .tag = key.tag,
            .any = key.must_open() || key.is_of_each_row};
}

bool is_unwritten(const Unwritten& unwritten, TupleTableSlot* row) {
    bool is_null = false;
    const Datum source = slot_getattr(row, unwritten.source, &is_null);
    if (is_null || unwritten.source != unwritten.target) {
        return !is_null && slot_attisnull(row, unwritten.target);
    }
    return unwritten.any ||
           !is_under(reinterpret_cast<varlena*>(DatumGetPointer(source)), unwritten.tag);
}

bool begins_under(ByteView sealed, ByteView tag) {
    return sealed.size() >= sealed_beginning &&
           std::memcmp(sealed.data() + 1, tag.data(), key_tag_length) == 0;
}

// The snapshot is taken behind the lock: rows of a table that was rewritten while it was waited for
// are nothing that an older one sees. What the run is for is locked as its parts are: whoever
// changes all of them would else be waited for at a part, and wait for this here.
void rewrite_batch(Rewriting& run, Place& place) {
    begin_batch();
    LockRelationOid(run.relation, RowExclusiveLock);
    const Relation table = try_relation_open(place.table, RowExclusiveLock);
    if (table == nullptr) {
        place.ended = true;  // dropped meanwhile
        return;
    }
    if (is_part_of(place.table, run.relation)) {
        require_own_rows(table);
        require_owner(run.relation);  // it may have been given away since the last one
        require_owner_above(place.table, run.relation);
        PushActiveSnapshot(GetLatestSnapshot());
        rewrite_some(run, table, place, false);
        PopActiveSnapshot();
    } else {
        place.ended = true;  // detached
    }
    relation_close(table, NoLock);
}

void look_through(Rewriting& run, Oid oid) {
    const Relation table = table_open(oid, AccessShareLock);
    require_own_rows(table);
    MemoryContext batch_memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms look", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(batch_memory);
    for (Place place = {oid, false, false, 0, {}}; !place.ended;) {
        rewrite_some(run, table, place, true);
        MemoryContextReset(batch_memory);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(batch_memory);
    table_close(table, NoLock);
}

}  // namespace kms::pg
