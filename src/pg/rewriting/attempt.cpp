// Nothing is locked while it is read and sealed. Whatever somebody has changed meanwhile, or keeps
// locked, is passed over when it is written: so nobody is waited for, and no change is lost.
#include "pg/rewriting/attempt.hpp"

#include <algorithm>

#include "pg/rewriting/chunk.hpp"
#include "pg/rewriting/current_tags.hpp"
#include "pg/server/collected.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

// For another's transaction: with rows locked that others may want.
constexpr int longest_wait_ms = 100;

Chunk make_chunk(int most) {
    const std::size_t rows = std::min(static_cast<std::size_t>(most), chunk_rows);
    return {
        .memory = AllocSetContextCreate(CurrentMemoryContext, "kms chunk", ALLOCSET_DEFAULT_SIZES),
        .row_memory =
            AllocSetContextCreate(CurrentMemoryContext, "kms row", ALLOCSET_DEFAULT_SIZES),
        .count = 0,
        .bytes = 0,
        .calls = allocate_many<Call>(rows),
        .calls_before = allocate_many<Call>(rows),
        .results = allocate_many<varlena*>(rows),
        .rows = allocate_many<RowVersion>(rows),
        .written = allocate_many<ItemPointerData>(rows),
        .written_count = 0};
}

template <typename Body>
void run_code_of(Oid role, Attempt& attempt, Body&& body) {
    attempt.is_in_owners_code = true;
    run_owners_code(role, body);
    attempt.is_in_owners_code = false;
}

// Anew for each attempt: an error leaves what functions of the owner's keep in it behind.
void prepare(Work& work) {
    const Batch& batch = work.batch;
    work.may_wait = may_wait_for_others(batch.table, batch.unwritten.target);
    run_code_of(batch.owner, work.attempt, [&] {
        const AttrNumber source = batch.unwritten.source;
        work.values = prepare_row_values(
            batch.table, source,
            {.context = batch.key.context_expression, .key = batch.key.key_expression});
        if (batch.run.opens) {
            work.input = prepare_input(batch.table, batch.unwritten.target);
        }
        if (batch.key.is_moving) {
            work.values_before = prepare_row_values(
                batch.table, source, {.context = batch.key.was.context_expression, .key = nullptr});
        }
    });
}

// --- reading

// What is taken of a row is copied: the page that it may stand in does not stay. No value opens
// with a context that is NULL: there is none to open then.
Call as_before(const Work& work, const Call& call, TupleTableSlot* row) {
    const auto context =
        work.attempt.without_before ? std::nullopt : context_of_row(work.values_before, row);
    Call before = call;
    before.identifier = work.batch.key.was.key_identifier;
    before.context = context ? copy_into(work.chunk.memory, *context) : ByteView{};
    before.data = context ? call.data : ByteView{};
    return before;
}

// As far as can be told without asking anybody.
bool is_under_rows_key(const Work& work, ByteView identifier, TupleTableSlot* row) {
    if (!work.batch.key.is_of_each_row) {
        return false;
    }
    const auto found = believed_tag(*work.batch.run.current_tags, identifier);
    if (!found || found->tag == nullptr) {
        return false;
    }
    Unwritten under_key = work.batch.unwritten;
    under_key.tag = *found->tag;
    under_key.any = false;
    return !is_unwritten(under_key, row);
}

void take_row(Work& work, TupleTableSlot* row) {
    const ItemPointerData before = work.attempt.last;
    ++work.attempt.taken;
    work.attempt.last = row->tts_tid;
    const auto key = key_of_row(work.values, row, work.batch.key.identifier);
    if (!key) {
        note_bad_row(work, row->tts_tid, ERRCODE_NULL_VALUE_NOT_ALLOWED, "its key is NULL");
        return;
    }
    if (!is_identifier(*key)) {
        note_bad_row(work, row->tts_tid, ERRCODE_INVALID_PARAMETER_VALUE,
                     psprintf("a key identifier has 1 to %zu bytes, and its key's has %zu",
                              max_identifier, key->size()));
        return;
    }
    if (is_under_rows_key(work, *key, row)) {
        --work.attempt.taken;
        work.attempt.last = before;
        return;
    }
    const auto context = context_of_row(work.values, row);
    if (!context) {
        note_bad_row(work, row->tts_tid, ERRCODE_NULL_VALUE_NOT_ALLOWED, "its context is NULL");
        return;
    }
    Chunk& chunk = work.chunk;
    Call& call = chunk.calls[chunk.count];
    call = {
        .action = work.batch.key.action,
        .local_id = 0,
        .data = copy_into(chunk.memory, bytes_of_row(work.values.value, row).value_or(ByteView{})),
        .context = copy_into(chunk.memory, *context),
        .identifier = copy_into(chunk.memory, *key)};
    if (work.batch.key.is_moving) {
        chunk.calls_before[chunk.count] = as_before(work, call, row);
    }
    chunk.bytes += call.data.size() + call.context.size() + call.identifier.size();
    chunk.rows[chunk.count++] = version_of(row);
}

ItemPointerData page_behind(const ItemPointerData& place) {
    ItemPointerData next;
    ItemPointerSet(&next, ItemPointerGetBlockNumberNoCheck(&place) + 1, FirstOffsetNumber);
    return next;
}

ItemPointerData take_rows(Work& work, ItemPointerData end) {
    const Relation table = work.batch.table;
    TupleTableSlot* row = table_slot_create(table, nullptr);
    TableScanDesc scan = begin_range_scan(table, GetActiveSnapshot(), &work.attempt.next, &end);
    MemoryContext caller = MemoryContextSwitchTo(work.chunk.row_memory);
    ItemPointerData next = page_behind(end);
    while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row)) {
        MemoryContextReset(work.chunk.row_memory);
        if (is_unwritten(work.batch.unwritten, row)) {
            take_row(work, row);
        }
        if (work.attempt.taken == work.attempt.most || work.chunk.is_full()) {
            next = place_behind(row->tts_tid);
            break;
        }
    }
    MemoryContextSwitchTo(caller);
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    return next;
}

// What makes a row's bytes and its context is the owner's code, also where it is the type's own.
// What that makes of a row besides, values that are fetched to be looked into say, goes with the
// row.
void read_chunk(Work& work, ItemPointerData end) {
    MemoryContext caller = MemoryContextSwitchTo(work.chunk.memory);
    run_code_of(work.batch.owner, work.attempt, [&] { work.attempt.next = take_rows(work, end); });
    MemoryContextSwitchTo(caller);
}

// --- writing

Datum value_to_write(Work& work, varlena* result) {
    return work.batch.run.opens ? value_of_bytes(work.input, bytes_in(result))
                                : PointerGetDatum(result);
}

// The value is sealed for the row that there was: a trigger that changes it, or what the context is
// made of, would leave a value that nobody opens. Between two columns a trigger of our own sees to
// it, behind all others: but not where one keeps the row as it was.
bool is_whole(const Work& work, TupleTableSlot* row, std::size_t index, Datum value) {
    if (work.batch.run.is_between_columns()) {
        return !is_unwritten(work.batch.unwritten, row);
    }
    const AttrNumber target = work.batch.unwritten.target;
    bool is_null = false;
    const Datum stored = slot_getattr(row, target, &is_null);
    const Call& call = work.chunk.calls[index];
    const auto context = context_of_row(work.values, row);
    const auto key = key_of_row(work.values, row, work.batch.key.identifier);
    return !is_null && is_same_image(row->tts_tupleDescriptor, target, stored, value) && context &&
           std::ranges::equal(*context, call.context) && key &&
           std::ranges::equal(*key, call.identifier);
}

void require_whole(const Work& work, TupleTableSlot* row, std::size_t index, Datum value) {
    MemoryContext caller = MemoryContextSwitchTo(work.chunk.row_memory);
    const bool whole = is_whole(work, row, index, value);
    MemoryContextSwitchTo(caller);
    MemoryContextReset(work.chunk.row_memory);
    if (!whole) {
        ereport(ERROR,
                (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                 errmsg("a trigger has changed the value, or what its key or context is made of")));
    }
}

// The same of what others of the row's values are sealed under.
void require_contexts_kept(const Work& work, RowWriter& writer) {
    if (have_triggers_changed(writer, work.batch.in_other_contexts)) {
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("a trigger has changed what the context of another value is made "
                               "of")));
    }
}

void write_result(Work& work, RowWriter& writer, std::size_t index) {
    const RowVersion& row_version = work.chunk.rows[index];
    const Datum value = value_to_write(work, work.chunk.results[index]);
    switch (write_row(writer, row_version, value)) {
        case Written::done:
            if (TupleTableSlot* row = row_after_triggers(writer)) {
                require_contexts_kept(work, writer);
                require_whole(work, row, index, value);
            }
            work.chunk.written[work.chunk.written_count++] = place_of_written(writer);
            ++work.attempt.done;
            break;
        case Written::kept_by_trigger:
            note_bad_row(work, row_version.place, ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                         "a trigger has kept it");
            break;
        case Written::passed_over:
            ++work.attempt.passed_over;
            break;
    }
}

void write_results(Work& work) {
    RowWriter* writer = open_row_writer(work.batch.table, work.batch.unwritten.target,
                                        work.batch.run.triggers == Triggers::skip);
    for (std::size_t i = 0; i < work.chunk.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        if (work.chunk.results[i] != nullptr) {
            write_result(work, *writer, i);
        }
    }
    close_row_writer(writer);
}

// What a trigger or a constraint puts off would be done by the commit, in the caller's name, and
// fail where no row is at hand.
void put_nothing_off() {
    AfterTriggerSetState(make_node<ConstraintsSetStmt>(T_ConstraintsSetStmt));
}

// An AFTER trigger that changes what a context is made of would leave a value that nobody opens.
void require_rows_kept(const Work& work) {
    if (!are_still_there(work.batch.table, {work.chunk.written, work.chunk.written_count})) {
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("a trigger has changed the row again after it was written")));
    }
}

// Where another's row, not committed yet, may be a duplicate. A caller may wait for less himself.
void wait_briefly(Work& work) {
    work.attempt.waits_briefly = work.may_wait;
    if (work.may_wait && (LockTimeout == 0 || LockTimeout > longest_wait_ms)) {
        set_meanwhile("lock_timeout", psprintf("%d", longest_wait_ms));
    }
}

void write_chunk(Work& work) {
    seal_chunk(work);
    run_code_of(work.batch.owner, work.attempt, [&] {
        wait_briefly(work);
        put_nothing_off();
        write_results(work);
        put_nothing_off();
        require_rows_kept(work);
    });
    work.attempt.waits_briefly = false;
}

void finish_chunk(Work& work) {
    Chunk& chunk = work.chunk;
    if (chunk.count != 0) {
        MemoryContext caller = MemoryContextSwitchTo(chunk.memory);
        work.batch.only_looks ? look_at_chunk(work) : write_chunk(work);
        MemoryContextSwitchTo(caller);
    }
    MemoryContextReset(chunk.memory);
    chunk.count = chunk.bytes = chunk.written_count = 0;
}

}  // namespace

void rewrite_rows(Batch& batch, ItemPointerData end, Attempt& attempt) {
    Work work = {batch, attempt, {}, {}, {}, false, make_chunk(attempt.most)};
    prepare(work);
    while (attempt.taken < attempt.most && ItemPointerCompare(&attempt.next, &end) <= 0) {
        read_chunk(work, end);
        finish_chunk(work);
    }
}

}  // namespace kms::pg
