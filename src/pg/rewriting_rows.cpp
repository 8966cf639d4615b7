// Nothing is locked while it is read and sealed. Whatever somebody has changed meanwhile, or keeps
// locked, is passed over when it is written: so nobody is waited for, and no change is lost.
#include "pg/rewriting_rows.hpp"

#include <algorithm>

#include "pg/collected.hpp"
#include "pg/owner.hpp"
#include "pg/plain_input.hpp"
#include "pg/row_values.hpp"
#include "pg/row_writer.hpp"

namespace kms::pg {
namespace {

// Of values that are in memory at once.
constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
constexpr std::size_t chunk_rows = 8192;
// For another's transaction: with rows locked that others may want.
constexpr int longest_wait_ms = 100;

// Rows that are read, and what is to be written.
struct Chunk {
    MemoryContext memory;  // of what the arrays point to
    std::size_t count;
    std::size_t bytes;
    Call* calls;
    Call* calls_before;  // while the column is being moved: as the values were sealed before
    varlena** results;   // nullptr: the row stays as it is
    RowVersion* rows;
    ItemPointerData* written;  // where they are then
    std::size_t written_count;

    bool is_full() const { return count == chunk_rows || bytes >= chunk_bytes; }
};

// What the steps hand to each other.
struct Work {
    Batch& batch;
    Attempt& attempt;
    RowValues values;
    RowValues values_before;
    PlainInput input;  // of the target, where the run opens values
    bool may_wait;     // to write a row
    Chunk chunk;
};

Chunk make_chunk(int most) {
    const std::size_t rows = std::min(static_cast<std::size_t>(most), chunk_rows);
    return {
        .memory = AllocSetContextCreate(CurrentMemoryContext, "kms chunk", ALLOCSET_DEFAULT_SIZES),
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
        work.values = prepare_row_values(batch.table, source, batch.key.context_expression);
        if (batch.run.opens) {
            work.input = prepare_input(batch.table, batch.unwritten.target);
        }
        if (batch.key.is_moving) {
            work.values_before =
                prepare_row_values(batch.table, source, batch.key.was.context_expression);
        }
    });
}

void note_bad_row(Work& work, const ItemPointerData& place, int sqlstate, const char* reason) {
    note_bad(work.attempt.bad, RelationGetRelid(work.batch.table), place, sqlstate, reason);
}

// --- reading

// What is taken of a row is copied: the page that it may stand in does not stay. No value opens
// with a context that is NULL: there is none to open then.
Call as_before(const Work& work, const Call& call, TupleTableSlot* row) {
    const auto context =
        work.attempt.without_before ? std::nullopt : context_of_row(work.values_before, row);
    Call before = call;
    before.identifier = work.batch.key.was.key_identifier;
    before.context = context ? copy_of(*context) : ByteView{};
    before.data = context ? call.data : ByteView{};
    return before;
}

bool has_no_context_before(const Chunk& chunk, std::size_t index) {
    return chunk.calls_before[index].data.empty() && !chunk.calls[index].data.empty();
}

void take_row(Work& work, TupleTableSlot* row) {
    ++work.attempt.taken;
    work.attempt.last = row->tts_tid;
    const auto context = context_of_row(work.values, row);
    if (!context) {
        note_bad_row(work, row->tts_tid, ERRCODE_NULL_VALUE_NOT_ALLOWED, "its context is NULL");
        return;
    }
    Chunk& chunk = work.chunk;
    Call& call = chunk.calls[chunk.count];
    call = {.action = work.batch.key.action,
            .local_id = 0,
            .data = copy_of(bytes_of_row(work.values, row).value_or(ByteView{})),
            .context = copy_of(*context),
            .identifier = work.batch.key.identifier};
    if (work.batch.key.is_moving) {
        chunk.calls_before[chunk.count] = as_before(work, call, row);
    }
    chunk.bytes += call.data.size() + call.context.size();
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
    ItemPointerData next = page_behind(end);
    while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row)) {
        if (is_unwritten(work.batch.unwritten, row)) {
            take_row(work, row);
        }
        if (work.attempt.taken == work.attempt.most || work.chunk.is_full()) {
            next = place_behind(row->tts_tid);
            break;
        }
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    return next;
}

// What makes a row's bytes and its context is the owner's code, also where it is the type's own.
void read_chunk(Work& work, ItemPointerData end) {
    MemoryContext caller = MemoryContextSwitchTo(work.chunk.memory);
    run_code_of(work.batch.owner, work.attempt, [&] { work.attempt.next = take_rows(work, end); });
    MemoryContextSwitchTo(caller);
}

// --- sealing

// As it is to be: the key and the context are those of now.
bool opens(const Call& call) {
    varlena* plaintext = nullptr;
    const Failure failure = open(call, &plaintext);
    if (failure) {
        raise_unless_about_the_value(failure);
        return false;
    }
    wipe(bytes_in(plaintext));
    pfree(plaintext);
    return true;
}

// Where the header does not tell what has been moved.
void leave_out_moved(const Batch& batch, Chunk& chunk) {
    std::size_t left = 0;
    for (std::size_t i = 0; i < chunk.count; ++i) {
        if (!begins_under(chunk.calls[i].data, batch.key.tag) || !opens(chunk.calls[i])) {
            chunk.calls[left] = chunk.calls[i];
            chunk.calls_before[left] = chunk.calls_before[i];
            chunk.rows[left++] = chunk.rows[i];
        }
    }
    chunk.count = left;
}

Failure seal_anew(const Batch& batch, const Chunk& chunk, std::size_t first, std::size_t count,
                  std::size_t& done) {
    const std::span<const Call> calls(chunk.calls + first, count);
    varlena** results = chunk.results + first;
    if (batch.run.is_between_columns()) {
        return transform(batch.run.opens ? Way::open : Way::seal, calls, results, done);
    }
    const Call* before = batch.key.is_moving ? chunk.calls_before + first : calls.data();
    return reseal({before, count}, calls, results, done);
}

// It has been moved, but is of another version than the current one.
bool is_sealed_as_moved(const Batch& batch, const Chunk& chunk, std::size_t index) {
    if (!batch.key.is_moving) {
        return false;
    }
    const std::span<const Call> call(chunk.calls + index, 1);
    std::size_t done = 0;
    const Failure failure = reseal(call, call, chunk.results + index, done);
    if (failure) {
        raise_unless_about_the_value(failure);
    }
    return !failure;
}

void seal_one(Work& work, std::size_t index, const Failure& failure) {
    Chunk& chunk = work.chunk;
    if (is_sealed_as_moved(work.batch, chunk, index)) {
        return;
    }
    chunk.results[index] = nullptr;
    if (work.batch.key.is_moving && has_no_context_before(chunk, index)) {
        note_bad_row(work, chunk.rows[index].place, ERRCODE_NULL_VALUE_NOT_ALLOWED,
                     "its context of before is NULL");
    } else {
        note_bad_row(work, chunk.rows[index].place, failure.cause.sqlstate, failure.cause.message);
    }
}

// After a failure only a few are tried at once: where many are bad, not all of the rest again.
void seal_chunk(Work& work) {
    Chunk& chunk = work.chunk;
    if (work.batch.key.must_open()) {
        leave_out_moved(work.batch, chunk);
    }
    std::size_t at_once = chunk_rows;
    for (std::size_t first = 0; first < chunk.count;) {
        const std::size_t count = std::min(at_once, chunk.count - first);
        std::size_t done = 0;
        const Failure failure = seal_anew(work.batch, chunk, first, count, done);
        if (!failure) {
            first += count;
            at_once = std::min(2 * at_once, chunk_rows);
            continue;
        }
        raise_unless_about_the_value(failure);
        first += done;
        seal_one(work, first, failure);
        at_once = std::max<std::size_t>(done / 2, 1);
        ++first;
    }
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
    const auto context = context_of_row(work.values, row);
    return !is_null && is_same_image(row->tts_tupleDescriptor, target, stored, value) && context &&
           std::ranges::equal(*context, work.chunk.calls[index].context);
}

void require_whole(const Work& work, TupleTableSlot* row, std::size_t index, Datum value) {
    if (!is_whole(work, row, index, value)) {
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("a trigger has changed the value, or what its context is made of")));
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

void look_at_chunk(Work& work) {
    leave_out_moved(work.batch, work.chunk);
    const std::span<const Call> calls(work.chunk.calls, work.chunk.count);
    const ByteView tag = work.batch.key.tag;
    work.attempt.passed_over += static_cast<std::int64_t>(calls.size());
    work.attempt.hidden += std::ranges::count_if(
        calls, [&](const Call& call) { return begins_under(call.data, tag); });
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

void raise_unless_about_the_value(const Failure& failure) {
    const Code code = failure.cause.code;
    const bool is_about_the_value = code == Code::malformed || code == Code::wrong_key ||
                                    code == Code::corrupt || code == Code::disabled ||
                                    code == Code::too_large;
    if (failure.pending || !is_about_the_value) {
        raise(failure);
    }
}

void rewrite_rows(Batch& batch, ItemPointerData end, Attempt& attempt) {
    Work work = {batch, attempt, {}, {}, {}, false, make_chunk(attempt.most)};
    prepare(work);
    while (attempt.taken < attempt.most && ItemPointerCompare(&attempt.next, &end) <= 0) {
        read_chunk(work, end);
        finish_chunk(work);
    }
}

}  // namespace kms::pg
