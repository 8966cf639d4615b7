// One batch: rows are read in a range of the table, their values sealed anew, and written back.
//
// Nothing is locked while it is read and sealed. Whatever somebody has changed meanwhile, or keeps
// locked, is passed over when it is written: so nobody is waited for, and no change is lost.
#include <algorithm>

#include "crypto/sealed.hpp"
#include "pg/collected.hpp"
#include "pg/owner.hpp"
#include "pg/rewriting.hpp"
#include "pg/row_values.hpp"
#include "pg/row_writer.hpp"
#include "pg/table_column.hpp"

namespace kms::pg {
namespace {

// As much of a table as one transaction looks through: it is short where rows need nothing too.
constexpr BlockNumber window = 8192;
// Of values that are in memory at once.
constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
constexpr std::size_t chunk_rows = 8192;

// Rows that are read, and what is to be written.
struct Chunk {
    MemoryContext memory;  // of what the arrays point to
    std::size_t count;
    std::size_t bytes;
    Call* calls;
    varlena** results;  // nullptr: the row stays as it is
    ItemPointerData* places;
};

// What a transaction works with.
struct Batch {
    Rewriting& run;
    Relation table;
    Oid owner;  // of the registered relation: who has written the context expression
    RunKey key;
    Unwritten unwritten;
    RowValues values;
    int taken;  // rows
    Chunk chunk;
};

AttrNumber column_in(const Rewriting& run, Relation table, AttrNumber column) {
    return get_attnum(RelationGetRelid(table), get_attname(run.relation, column, false));
}

Chunk make_chunk() {
    return {
        .memory = AllocSetContextCreate(CurrentMemoryContext, "kms rows", ALLOCSET_DEFAULT_SIZES),
        .count = 0,
        .bytes = 0,
        .calls = allocate_many<Call>(chunk_rows),
        .results = allocate_many<varlena*>(chunk_rows),
        .places = allocate_many<ItemPointerData>(chunk_rows)};
}

void prepare_values(Batch& batch) {
    const AttrNumber source = batch.unwritten.source;
    run_owners_code(batch.owner, [&] {
        batch.values = prepare_row_values(batch.table, source, batch.key.context_expression);
    });
}

Batch open_batch(Rewriting& run, Relation table) {
    const RunKey key = current_key(run);
    Batch batch = {.run = run,
                   .table = table,
                   .owner = owner_of(run.relation),
                   .key = key,
                   .unwritten = unwritten_in(run, table, key),
                   .values = {},
                   .taken = 0,
                   .chunk = make_chunk()};
    prepare_values(batch);
    return batch;
}

// --- values

// What says that a row's value is at fault, and not the key or its agent.
bool is_about_the_value(const Failure& failure) {
    const Code code = failure.cause.code;
    return code == Code::malformed || code == Code::wrong_key || code == Code::corrupt ||
           code == Code::disabled || code == Code::too_large;
}

void note_bad(Rewriting& run, Relation table, ItemPointerData place, int sqlstate,
              const char* reason) {
    ++run.bad_in_pass;
    if (run.example.relation == InvalidOid) {
        run.example.relation = RelationGetRelid(table);
        run.example.place = place;
        run.example.sqlstate = sqlstate;
        strlcpy(run.example.reason, reason, sizeof(run.example.reason));
    }
}

Failure seal_anew(const Rewriting& run, std::span<const Call> calls, varlena** results,
                  std::size_t& done) {
    return run.is_first_time() ? transform(Way::seal, calls, results, done)
                               : reseal(calls, std::nullopt, results, done);
}

// After a failure only a few are tried at once: where many are bad, not all of the rest again.
void seal_chunk(Rewriting& run, Relation table, const Chunk& chunk) {
    std::size_t at_once = chunk_rows;
    for (std::size_t first = 0; first < chunk.count;) {
        const std::size_t count = std::min(at_once, chunk.count - first);
        std::size_t done = 0;
        const Failure failure =
            seal_anew(run, {chunk.calls + first, count}, chunk.results + first, done);
        if (!failure) {
            first += count;
            at_once = std::min(2 * at_once, chunk_rows);
            continue;
        }
        if (failure.pending || !is_about_the_value(failure)) {
            raise(failure);
        }
        first += done;
        chunk.results[first] = nullptr;
        note_bad(run, table, chunk.places[first], failure.cause.sqlstate, failure.cause.message);
        at_once = std::max<std::size_t>(done / 2, 1);
        ++first;
    }
}

void write_results(Batch& batch) {
    RowWriter* writer = open_row_writer(batch.table, batch.unwritten.target);
    for (std::size_t i = 0; i < batch.chunk.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        if (batch.chunk.results[i] == nullptr) {
            continue;
        }
        switch (
            write_row(*writer, &batch.chunk.places[i], PointerGetDatum(batch.chunk.results[i]))) {
            case Written::done:
                ++batch.run.done;
                ++batch.run.done_in_pass;
                break;
            case Written::kept_by_trigger:
                ++batch.run.bad_in_pass;
                break;
            case Written::passed_over:
                break;
        }
    }
    close_row_writer(writer);
}

// What a trigger or a constraint puts off would be done by the commit: in the caller's name.
void put_nothing_off() {
    auto* immediate = make_node<ConstraintsSetStmt>(T_ConstraintsSetStmt);
    AfterTriggerSetState(immediate);
}

void write_chunk(Batch& batch) {
    Chunk& chunk = batch.chunk;
    if (chunk.count != 0) {
        MemoryContext caller = MemoryContextSwitchTo(chunk.memory);
        seal_chunk(batch.run, batch.table, chunk);
        run_owners_code(batch.table->rd_rel->relowner, [&] {
            put_nothing_off();
            write_results(batch);
            put_nothing_off();
        });
        MemoryContextSwitchTo(caller);
    }
    MemoryContextReset(chunk.memory);
    chunk.count = chunk.bytes = 0;
}

// The page that they may stand in does not stay.
ByteView kept(ByteView bytes) {
    auto* copy = static_cast<Byte*>(palloc(bytes.size() + 1));
    copy_bytes(bytes, ByteSpan(copy, bytes.size()));
    return {copy, bytes.size()};
}

void take_row(Batch& batch, TupleTableSlot* row) {
    ++batch.taken;
    const auto context = context_of_row(batch.values, row);
    if (!context) {
        note_bad(batch.run, batch.table, row->tts_tid, ERRCODE_NULL_VALUE_NOT_ALLOWED,
                 "its context is NULL");
        return;
    }
    Chunk& chunk = batch.chunk;
    Call& call = chunk.calls[chunk.count];
    call = {.action = batch.key.action,
            .local_id = 0,
            .data = kept(bytes_of_row(batch.values, row).value_or(ByteView{})),
            .context = kept(*context),
            .identifier = batch.key.identifier};
    chunk.bytes += call.data.size() + call.context.size();
    chunk.places[chunk.count++] = row->tts_tid;
}

bool is_full(const Chunk& chunk) {
    return chunk.count == chunk_rows || chunk.bytes >= chunk_bytes;
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

ItemPointerData behind(const ItemPointerData& place) {
    ItemPointerData next;
    ItemPointerSet(&next, ItemPointerGetBlockNumberNoCheck(&place),
                   OffsetNumberNext(ItemPointerGetOffsetNumberNoCheck(&place)));
    return next;
}

ItemPointerData page_behind(const ItemPointerData& place) {
    ItemPointerData next;
    ItemPointerSet(&next, ItemPointerGetBlockNumberNoCheck(&place) + 1, FirstOffsetNumber);
    return next;
}

// Takes rows until there are enough of them or the end comes; returns where to go on.
ItemPointerData take_rows(Batch& batch, ItemPointerData from, ItemPointerData end) {
    TupleTableSlot* row = table_slot_create(batch.table, nullptr);
    TableScanDesc scan = table_beginscan_tidrange(batch.table, GetActiveSnapshot(), &from, &end);
    ItemPointerData next = page_behind(end);
    while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row)) {
        if (is_unwritten(batch.unwritten, row)) {
            take_row(batch, row);
        }
        if (batch.taken == batch.run.batch || is_full(batch.chunk)) {
            next = behind(row->tts_tid);
            break;
        }
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
    return next;
}

// What makes a row's bytes and its context is the owner's code, also where it is the type's own. It
// sees the settings that a value's text depends on; triggers do not.
ItemPointerData read_chunk(Batch& batch, ItemPointerData from, ItemPointerData end) {
    ItemPointerData next = from;
    MemoryContext caller = MemoryContextSwitchTo(batch.chunk.memory);
    run_owners_code(batch.owner, [&] {
        if (batch.run.is_first_time()) {
            fix_text_settings(GUC_ACTION_SAVE);
        }
        next = take_rows(batch, from, end);
    });
    MemoryContextSwitchTo(caller);
    return next;
}

// Chunk by chunk, until the batch is full or the window at its end.
void rewrite_window(Batch& batch, Place& place) {
    ItemPointerData end = end_of_window(place);
    while (batch.taken < batch.run.batch && ItemPointerCompare(&place.next, &end) <= 0) {
        place.next = read_chunk(batch, place.next, end);
        write_chunk(batch);
    }
}

void rewrite_some(Rewriting& run, Relation table, Place& place) {
    if (!place.begun) {
        require_rewritable_table(run, table);
        begin_at(place, table);
    }
    if (place.end != 0) {
        Batch batch = open_batch(run, table);
        rewrite_window(batch, place);
    }
    place.ended = ItemPointerGetBlockNumberNoCheck(&place.next) >= place.end;
}

bool begins_under(const varlena* value, ByteView tag) {
    const ByteView bytes = bytes_of_packed(value);
    return bytes.size() >= sealed_beginning &&
           std::memcmp(bytes.data() + 1, tag.data(), key_tag_length) == 0;
}

bool is_under(varlena* value, ByteView tag) {
    if (stands_in_its_row(value)) {
        return begins_under(value, tag);
    }
    varlena* beginning = pg_detoast_datum_slice(value, 0, sealed_beginning);
    const bool is_under = begins_under(beginning, tag);
    pfree(beginning);
    return is_under;
}

}  // namespace

Unwritten unwritten_in(const Rewriting& run, Relation table, const RunKey& key) {
    const AttrNumber target = column_in(run, table, run.target);
    require_bytea(table, target);  // somebody may have changed its type since the last batch
    return {.source = column_in(run, table, run.source), .target = target, .tag = key.tag};
}

bool is_unwritten(const Unwritten& unwritten, TupleTableSlot* row) {
    bool is_null = false;
    const Datum source = slot_getattr(row, unwritten.source, &is_null);
    if (is_null || unwritten.source != unwritten.target) {
        return !is_null && slot_attisnull(row, unwritten.target);
    }
    return !is_under(reinterpret_cast<varlena*>(DatumGetPointer(source)), unwritten.tag);
}

void rewrite_batch(Rewriting& run, Place& place) {
    begin_batch(run);
    const Relation table = try_relation_open(place.table, RowExclusiveLock);
    if (table == nullptr) {
        place.ended = true;  // dropped meanwhile
        return;
    }
    rewrite_some(run, table, place);
    relation_close(table, NoLock);
}

}  // namespace kms::pg
