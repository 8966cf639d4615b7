// One batch: rows are locked, their values sealed anew, and written back.
//
// The rows come from a scan of a range of the table that locks what nobody else has locked, so that
// it never waits. A row that somebody changed while it was looked at comes as it is now, maybe from
// elsewhere in the table: the scan does not go on from there.
#include <algorithm>

#include "pg/rewriting.hpp"

namespace kms::pg {
namespace {

// As much of a table as one statement looks through: a transaction over rows that need nothing is
// short too.
constexpr BlockNumber window = 8192;
// Of values that are in memory at once.
constexpr std::size_t chunk_bytes = std::size_t{4} << 20;

struct Target {
    const char* table;  // its name, quoted
    const char* source;
    const char* column;
    const char* lock;
};

// Rows as they were locked: ctid, xmin, the value, its context.
struct Rows {
    SPITupleTable* table;
    std::uint64_t count;

    Datum value(std::uint64_t row, int column, bool* is_null) const {
        return SPI_getbinval(table->vals[row], table->tupdesc, column, is_null);
    }
    Datum value(std::uint64_t row, int column) const {
        bool is_null = false;
        return value(row, column, &is_null);
    }
    ItemPointerData place(std::uint64_t row) const {
        return *reinterpret_cast<ItemPointer>(DatumGetPointer(value(row, 1)));
    }
    TransactionId made_by(std::uint64_t row) const { return DatumGetTransactionId(value(row, 2)); }
};

// What an UPDATE of the column will need: less does not keep foreign keys to the row waiting.
const char* lock_for(Relation table, AttrNumber column) {
    const Bitmapset* keys = RelationGetIndexAttrBitmap(table, INDEX_ATTR_BITMAP_KEY);
    return bms_is_member(column - FirstLowInvalidHeapAttributeNumber, keys) ? "UPDATE"
                                                                            : "NO KEY UPDATE";
}

Target target_of(const Rewriting& run, Relation table) {
    const char* name = get_attname(run.relation, run.target, false);
    return {quoted_name(table), quoted_column(run, run.source), quote_identifier(name),
            lock_for(table, get_attnum(RelationGetRelid(table), name))};
}

SPIPlanPtr prepare(const char* sql, int count, Oid* types) {
    SPIPlanPtr plan = SPI_prepare(sql, count, types);
    if (plan == nullptr) {
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
    }
    return plan;
}

// Only a scan of the range will do; any other looks through the whole table.
void want_range_scan() {
    for (const char* other : {"enable_seqscan", "enable_indexscan", "enable_indexonlyscan",
                              "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"}) {
        set_locally(other, "off");
    }
    set_locally("enable_tidscan", "on");
    set_locally("enable_nestloop", "on");
}

// With the snapshot that is active, so that it is known which rows have changed since.
Rows lock_rows(const Rewriting& run, const RunKey& key, const Target& target, Place& place,
               ItemPointer end) {
    const char* sql = psprintf(
        "SELECT r.ctid, r.xmin, r.%s%s, %s FROM ONLY %s AS r "
        "WHERE r.ctid >= $2 AND r.ctid < $3 AND %s LIMIT $4 FOR %s SKIP LOCKED",
        target.source, run.cast, key.context, target.table, unwritten(run), target.lock);
    Oid types[] = {BYTEAOID, TIDOID, TIDOID, INT8OID};
    Datum values[] = {bytes_datum(key.tag), PointerGetDatum(&place.next), PointerGetDatum(end),
                      Int64GetDatum(run.batch)};
    SPIPlanPtr plan = prepare(sql, lengthof(types), types);
    SPI_execute_snapshot(plan, values, nullptr, GetActiveSnapshot(), InvalidSnapshot, false, true,
                         0);
    const Rows rows = {SPI_tuptable, SPI_processed};
    SPI_freeplan(plan);
    return rows;
}

// unnest() stands where it needs no tuplestore.
void write_rows(const Target& target, Datum* places, Datum* values, int count, Rewriting& run) {
    const char* sql = psprintf(
        "UPDATE ONLY %s AS r SET %s = n.value "
        "FROM (SELECT unnest($1) AS place, unnest($2) AS value) AS n "
        "WHERE r.ctid = n.place",
        target.table, target.column);
    Oid types[] = {TIDARRAYOID, BYTEAARRAYOID};
    Datum arrays[] = {
        PointerGetDatum(
            construct_array(places, count, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT)),
        PointerGetDatum(construct_array(values, count, BYTEAOID, -1, false, TYPALIGN_INT))};
    SPI_execute_with_args(sql, lengthof(types), types, arrays, nullptr, false, 0);
    const auto written = static_cast<std::int64_t>(SPI_processed);
    run.done += written;
    run.done_in_pass += written;
    run.bad_in_pass += count - written;  // triggers have kept them as they are
}

// --- values

// What says that a row's value is at fault, and not the key or its agent.
bool is_about_the_value(const Failure& failure) {
    const Code code = failure.cause.code;
    return code == Code::malformed || code == Code::wrong_key || code == Code::corrupt ||
           code == Code::disabled || code == Code::too_large;
}

void note_bad(Rewriting& run, Oid table, ItemPointerData place, int sqlstate, const char* reason) {
    ++run.bad_in_pass;
    if (run.example.relation == InvalidOid) {
        run.example.relation = table;
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

// Some rows of a batch, and what is to be written.
struct Chunk {
    Oid table;
    std::size_t count;
    Call* calls;
    varlena** results;  // nullptr: the row stays as it is
    ItemPointerData* places;
};

Chunk make_chunk(Oid table, std::uint64_t most) {
    return {table, 0, static_cast<Call*>(palloc(sizeof(Call) * most)),
            static_cast<varlena**>(palloc(sizeof(varlena*) * most)),
            static_cast<ItemPointerData*>(palloc(sizeof(ItemPointerData) * most))};
}

// After a failure only a few are tried at once: where many are bad, not all of the rest again.
void seal_chunk(Rewriting& run, const Chunk& chunk) {
    constexpr std::size_t many = 8192;
    std::size_t at_once = many;
    for (std::size_t first = 0; first < chunk.count;) {
        const std::size_t count = std::min(at_once, chunk.count - first);
        std::size_t done = 0;
        const Failure failure =
            seal_anew(run, {chunk.calls + first, count}, chunk.results + first, done);
        if (!failure) {
            first += count;
            at_once = std::min(2 * at_once, many);
            continue;
        }
        if (failure.pending || !is_about_the_value(failure)) {
            raise(failure);
        }
        first += done;
        chunk.results[first] = nullptr;
        note_bad(run, chunk.table, chunk.places[first], failure.cause.sqlstate,
                 failure.cause.message);
        at_once = std::max<std::size_t>(done / 2, 1);
        ++first;
    }
}

void write_chunk(Rewriting& run, const Target& target, const Chunk& chunk) {
    seal_chunk(run, chunk);
    auto* places = static_cast<Datum*>(palloc(2 * sizeof(Datum) * (chunk.count + 1)));
    Datum* values = places + chunk.count;
    int count = 0;
    for (std::size_t i = 0; i < chunk.count; ++i) {
        if (chunk.results[i] != nullptr) {
            places[count] = PointerGetDatum(&chunk.places[i]);
            values[count++] = PointerGetDatum(chunk.results[i]);
        }
    }
    if (count != 0) {
        write_rows(target, places, values, count, run);
    }
}

// Takes rows from `row` on, until their values are enough for once.
std::uint64_t fill_chunk(Rewriting& run, const RunKey& key, const Rows& rows, std::uint64_t row,
                         Chunk& chunk) {
    std::size_t bytes = 0;
    for (; row < rows.count && bytes < chunk_bytes; ++row) {
        bool no_context = false;
        const Datum context = rows.value(row, 4, &no_context);
        if (no_context) {
            note_bad(run, chunk.table, rows.place(row), ERRCODE_NULL_VALUE_NOT_ALLOWED,
                     "its context is NULL");
            continue;
        }
        Call& call = chunk.calls[chunk.count];
        call = {.action = key.action,
                .local_id = 0,
                .data = bytes_of_datum(rows.value(row, 3)),
                .context = bytes_of_datum(context),
                .identifier = key.identifier};
        bytes += call.data.size() + call.context.size();
        chunk.places[chunk.count++] = rows.place(row);
    }
    return row;
}

void write_all(Rewriting& run, const RunKey& key, const Target& target, Oid table,
               const Rows& rows) {
    MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms rows", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(memory);
    for (std::uint64_t row = 0; row < rows.count;) {
        MemoryContextReset(memory);
        Chunk chunk = make_chunk(table, rows.count - row);
        row = fill_chunk(run, key, rows, row, chunk);
        write_chunk(run, target, chunk);
    }
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
}

// --- where the pass stands

void begin_at(Place& place, Relation table) {
    place.end = RelationGetNumberOfBlocks(table);
    place.begun = true;
    ItemPointerSet(&place.next, 0, FirstOffsetNumber);
}

ItemPointerData end_of_window(const Place& place) {
    const BlockNumber next = ItemPointerGetBlockNumberNoCheck(&place.next);
    ItemPointerData end;
    ItemPointerSet(&end, place.end - next > window ? next + window : place.end, 0);
    return end;
}

// Rows that changed under the scan may have come from behind its end.
void move_on(const Rewriting& run, const Rows& rows, ItemPointerData end, Place& place) {
    if (rows.count < static_cast<std::uint64_t>(run.batch)) {
        place.next = end;
        place.ended = ItemPointerGetBlockNumberNoCheck(&end) >= place.end;
        return;
    }
    const Snapshot snapshot = GetActiveSnapshot();
    ItemPointerData last = rows.place(rows.count - 1);
    for (std::uint64_t row = rows.count; row-- > 0;) {
        if (!XidInMVCCSnapshot(rows.made_by(row), snapshot)) {
            last = rows.place(row);
            break;
        }
    }
    ItemPointerSet(&place.next, ItemPointerGetBlockNumberNoCheck(&last),
                   OffsetNumberNext(ItemPointerGetOffsetNumberNoCheck(&last)));
}

void rewrite_some(Rewriting& run, Relation table, Place& place) {
    if (!place.begun) {
        require_rewritable_table(run, table);
        begin_at(place, table);
    }
    want_range_scan();
    const RunKey key = current_key(run);
    const Target target = target_of(run, table);
    ItemPointerData end = end_of_window(place);
    const Rows rows = lock_rows(run, key, target, place, &end);
    write_all(run, key, target, RelationGetRelid(table), rows);
    move_on(run, rows, end, place);
    SPI_freetuptable(rows.table);
}

}  // namespace

const char* unwritten(const Rewriting& run) {
    const char* source = quoted_column(run, run.source);
    if (run.is_first_time()) {
        return psprintf("r.%s IS NOT NULL AND r.%s IS NULL", source,
                        quoted_column(run, run.target));
    }
    return psprintf("substring(r.%s, 2, %zu) <> $1", source, sizeof(KeyTag));
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
