#include "pg/pairs/pair_comparison.hpp"

#include <algorithm>

#include "pg/contexts/row_values.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/tables/elsewhere.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

// Of values that are in memory at once.
constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
constexpr std::size_t chunk_rows = 1000;

// Rows that are read, and not compared yet. What the arrays point to is of `memory`.
struct Chunk {
    MemoryContext memory;
    MemoryContext row_memory;  // of what is made of one row
    std::size_t count;
    std::size_t bytes;
    ByteView* plaintexts;
    std::optional<ByteView>* written;
    Call* calls;
    varlena** results;
    ItemPointerData* places;
};

struct Comparison {
    const Pair& pair;
    Oid owner;       // of the relation: who has written the context expression
    Relation table;  // the relation, or one of its partitions; open, and so no type changes
    AttrNumber plain;
    AttrNumber encrypted;
    RowValues values;
    Chunk chunk;
    std::int64_t compared;
};

Chunk make_chunk() {
    return {
        .memory = AllocSetContextCreate(CurrentMemoryContext, "kms rows", ALLOCSET_DEFAULT_SIZES),
        .row_memory =
            AllocSetContextCreate(CurrentMemoryContext, "kms row", ALLOCSET_DEFAULT_SIZES),
        .count = 0,
        .bytes = 0,
        .plaintexts = allocate_many<ByteView>(chunk_rows),
        .written = allocate_many<std::optional<ByteView>>(chunk_rows),
        .calls = allocate_many<Call>(chunk_rows),
        .results = allocate_many<varlena*>(chunk_rows),
        .places = allocate_many<ItemPointerData>(chunk_rows)};
}

const char* how_to_make_anew(const Pair& pair) {
    return psprintf("Set \"%s\" of the row to NULL, and the trigger makes its value anew.",
                    pair.to());
}

// On the way back the column that goes is the encrypted one.
const char* how_to_seal(const Pair& pair) {
    return pair.opens ? ", sealed by kms.encode_with()," : "";
}

const char* how_to_decide(const Pair& pair) {
    return psprintf(
        "See which of them is right. Where it is that of column \"%s\", set \"%s\" of the "
        "row to NULL, and the trigger makes it anew; else write the value of \"%s\"%s into "
        "column \"%s\".",
        pair.from(), pair.to(), pair.to(), how_to_seal(pair), pair.from());
}

const char* how_to_save(const Pair& pair) {
    return psprintf(
        "Its value is in column \"%s\" alone: write it%s into column \"%s\", of which the "
        "trigger makes the other anew. Where it was erased there on purpose, set \"%s\" to NULL.",
        pair.to(), how_to_seal(pair), pair.from(), pair.to());
}

const char* how_to_fill(const Pair& pair) {
    return psprintf("CALL %s() again, with the same arguments: it fills what is left.",
                    pair.opens ? "kms.decrypt_column" : "kms.encrypt_column");
}

[[noreturn]] void raise_difference(const Comparison& comparison, const ItemPointerData& place,
                                   const char* what, const char* hint) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("column \"%s\" of \"%s\" cannot be dropped", comparison.pair.from(),
                           get_rel_name(comparison.pair.relation)),
                    errdetail("The row at ctid (%u,%u) of \"%s\" %s.",
                              ItemPointerGetBlockNumber(&place), ItemPointerGetOffsetNumber(&place),
                              RelationGetRelationName(comparison.table), what),
                    errhint("%s", hint)));
    pg_unreachable();
}

// What was sealed as text has its zeros at the end, and `decrypt_column` takes it for the number.
bool agrees(const Chunk& chunk, std::size_t i) {
    const ByteSpan opened = bytes_in(chunk.results[i]);
    return std::ranges::equal(opened, chunk.plaintexts[i]) ||
           (chunk.written[i] && std::ranges::equal(opened, *chunk.written[i]));
}

void require_agreement(const Comparison& comparison, std::size_t count) {
    const Chunk& chunk = comparison.chunk;
    for (std::size_t i = 0; i < count; ++i) {
        if (!agrees(chunk, i)) {
            raise_difference(comparison, chunk.places[i], "has two values that do not agree",
                             how_to_decide(comparison.pair));
        }
    }
}

const char* how_to_name_key(const Pair& pair) {
    return psprintf(
        "In one statement, UPDATE what names the row's key and set \"%s\" to NULL: the "
        "trigger makes its value anew.",
        pair.to());
}

// What is made anew is sealed under the current version.
const char* how_to_enable(const Pair& pair) {
    return pair.opens
               ? "Where the version is disabled, and not destroyed, enable it."
               : psprintf(
                     "Where the version is disabled, and not destroyed, enable it. Or, where "
                     "the value of column \"%s\" is right: rotate the key where that version "
                     "is the current one, and set \"%s\" of the row to NULL; the trigger makes "
                     "it anew.",
                     pair.from(), pair.to());
}

const char* how_to_open(const Pair& pair) {
    const char* registered = psprintf(
        "Where it was sealed under another key than %s, or with another context than "
        "the column is registered with, say which with kms.unregister_column() and "
        "kms.register_column().",
        shown_key(pair.sealed_as));
    return pair.opens ? registered
                      : psprintf(
                            "%s Where it was not, and the value of column \"%s\" is right: set "
                            "\"%s\" of the row to NULL, and the trigger makes it anew.",
                            registered, pair.from(), pair.to());
}

struct FailedRow {
    const Pair& pair;
    const char* table;
    ItemPointerData place;
};

void tell_of_row(void* argument) {
    const auto& row = *static_cast<const FailedRow*>(argument);
    errcontext("row at ctid (%u,%u) of \"%s\"", ItemPointerGetBlockNumber(&row.place),
               ItemPointerGetOffsetNumber(&row.place), row.table);
    if (geterrcode() == sqlstate::wrong_key || geterrcode() == sqlstate::corrupt) {
        errhint("%s", how_to_open(row.pair));
    }
    if (geterrcode() == sqlstate::disabled) {
        errhint("%s", how_to_enable(row.pair));
    }
}

[[noreturn]] void raise_at(FailedRow row, const Failure& failure) {
    ErrorContextCallback callback = {error_context_stack, tell_of_row, &row};
    error_context_stack = &callback;
    raise(failure);
}

void compare_chunk(Comparison& comparison) {
    Chunk& chunk = comparison.chunk;
    std::size_t done = 0;
    MemoryContext caller = MemoryContextSwitchTo(chunk.memory);
    const Failure failure = transform(Way::open, {chunk.calls, chunk.count}, chunk.results, done);
    require_agreement(comparison, done);
    if (failure) {
        raise_at({comparison.pair, RelationGetRelationName(comparison.table), chunk.places[done]},
                 failure);
    }
    MemoryContextSwitchTo(caller);
    comparison.compared += static_cast<std::int64_t>(chunk.count);
    MemoryContextReset(chunk.memory);
    chunk.count = chunk.bytes = 0;
}

std::optional<ByteView> written_of_row(const Comparison& comparison, TupleTableSlot* row) {
    bool is_null = false;
    const Datum value = slot_getattr(row, comparison.plain, &is_null);
    const auto* column = TupleDescAttr(row->tts_tupleDescriptor, comparison.plain - 1);
    return written_number(column->atttypid, value);
}

// Copied, since the page that they may stand in does not stay.
void take_row(Comparison& comparison, TupleTableSlot* row) {
    Chunk& chunk = comparison.chunk;
    const auto plaintext = bytes_of_row(comparison.values.value, row);
    bool is_null = false;
    const Datum encrypted = slot_getattr(row, comparison.encrypted, &is_null);
    if (!plaintext && is_null) {
        return;
    }
    if (!plaintext || is_null) {
        const Pair& pair = comparison.pair;
        const bool is_unfilled = pair.opens ? !plaintext : is_null;
        raise_difference(comparison, row->tts_tid, "is not encrypted, or has no plaintext",
                         is_unfilled ? how_to_fill(pair) : how_to_save(pair));
    }
    const auto context = context_of_row(comparison.values, row);
    const auto key = key_of_row(comparison.values, row, comparison.pair.sealed_as.key_identifier);
    if (!context) {
        raise_difference(comparison, row->tts_tid, "has NULL for its context",
                         how_to_make_anew(comparison.pair));
    }
    if (!key || !is_identifier(*key)) {
        raise_difference(comparison, row->tts_tid, "has nothing that can be a key's name",
                         how_to_name_key(comparison.pair));
    }
    chunk.plaintexts[chunk.count] = copy_into(chunk.memory, *plaintext);
    const auto written = written_of_row(comparison, row);
    chunk.written[chunk.count] =
        written ? std::optional(copy_into(chunk.memory, *written)) : std::nullopt;
    chunk.calls[chunk.count] = {.action = "open a value with",
                                .local_id = 0,
                                .data = copy_into(chunk.memory, bytes_of_datum(encrypted)),
                                .context = copy_into(chunk.memory, *context),
                                .identifier = copy_into(chunk.memory, *key)};
    chunk.places[chunk.count] = row->tts_tid;
    chunk.bytes +=
        plaintext->size() + chunk.calls[chunk.count].data.size() + context->size() + key->size();
    ++chunk.count;
}

bool is_full(const Chunk& chunk) {
    return chunk.count == chunk_rows || chunk.bytes >= chunk_bytes;
}

// What makes a row's bytes and its context is the owner's code. False at the end.
bool read_chunk(Comparison& comparison, TableScanDesc scan, TupleTableSlot* row) {
    bool has_row = false;
    MemoryContext caller = MemoryContextSwitchTo(comparison.chunk.row_memory);
    run_owners_code(comparison.owner, [&] {
        while (!is_full(comparison.chunk) &&
               (has_row = table_scan_getnextslot(scan, ForwardScanDirection, row))) {
            CHECK_FOR_INTERRUPTS();
            MemoryContextReset(comparison.chunk.row_memory);
            take_row(comparison, row);
        }
    });
    MemoryContextSwitchTo(caller);
    return has_row;
}

void compare_rows(Comparison& comparison, Snapshot snapshot) {
    TupleTableSlot* row = table_slot_create(comparison.table, nullptr);
    TableScanDesc scan = begin_scan(comparison.table, snapshot);
    bool has_row = true;
    while (has_row) {
        has_row = read_chunk(comparison, scan, row);
        if (comparison.chunk.count != 0) {
            compare_chunk(comparison);
        }
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
}

std::int64_t compare_table(const Pair& pair, const PairTable& columns, Snapshot snapshot) {
    const Relation table = open_unchanged(pair, columns);
    require_bytea(table, columns.encrypted.number);
    Comparison comparison = {.pair = pair,
                             .owner = owner_of(pair.relation),
                             .table = table,
                             .plain = columns.plain.number,
                             .encrypted = columns.encrypted.number,
                             .values = {},
                             .chunk = make_chunk(),
                             .compared = 0};
    run_owners_code(comparison.owner, [&] {
        comparison.values = prepare_row_values(
            table, columns.plain.number,
            {.context = pair.sealed_as.context_expression, .key = pair.sealed_as.key_expression});
    });
    compare_rows(comparison, snapshot);
    table_close(table, NoLock);
    return comparison.compared;
}

void require_rows_here(Oid table) {
    if (const char* why = why_elsewhere(table)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("\"%s\" %s", get_rel_name(table), why)));
    }
}

void require_visible_rows(Oid table) {
    if (check_enable_rls(table, InvalidOid, true) == RLS_ENABLED) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("rows of \"%s\" may be hidden by its row-level security policies",
                               get_rel_name(table)),
                        errhint("Call it as a superuser, or as a member of the owning role with "
                                "BYPASSRLS.")));
    }
}

}  // namespace

std::int64_t compare_pair(const Pair& pair) {
    PushActiveSnapshot(GetLatestSnapshot());
    std::int64_t compared = 0;
    for (const PairTable& table : pair.tables) {
        require_rows_here(table.oid);
        require_visible_rows(table.oid);
        if (get_rel_relkind(table.oid) != RELKIND_PARTITIONED_TABLE) {
            compared += compare_table(pair, table, GetActiveSnapshot());
        }
    }
    PopActiveSnapshot();
    return compared;
}

}  // namespace kms::pg
