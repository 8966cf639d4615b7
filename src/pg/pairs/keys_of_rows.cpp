#include "pg/pairs/keys_of_rows.hpp"

#include <algorithm>

#include "pg/contexts/row_values.hpp"
#include "pg/rewriting/attempt.hpp"
#include "pg/rewriting/current_tags.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/session/session.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

constexpr int most_rows = 10'000;
constexpr int most_failed = 100;
constexpr std::size_t most_keys = 16;

struct Look {
    Oid relation;
    const char* column;
    const char* expression;
    MemoryContext memory;
    Collected<ByteView> keys;
    int rows;              // that have a value
    int failed;            // for which the expression has raised
    ErrorData* error;      // that the first of them raised
    ItemPointerData next;  // in the table that is being read

    bool is_over() const {
        return rows == most_rows || failed == most_failed || keys.all().size() == most_keys;
    }
};

void note_key(Look& look, ByteView key) {
    const auto is_same = [&](ByteView other) { return std::ranges::equal(key, other); };
    if (is_identifier(key) && std::ranges::none_of(look.keys.all(), is_same)) {
        MemoryContext caller = MemoryContextSwitchTo(look.memory);
        look.keys.add(copy_of(key));
        MemoryContextSwitchTo(caller);
    }
}

void read_rows(Look& look, Relation table) {
    const AttrNumber column = attribute_named(table, look.column);
    const RowValues values =
        prepare_row_values(table, column, {.context = nullptr, .key = look.expression});
    TupleTableSlot* row = table_slot_create(table, nullptr);
    ItemPointerData end;
    ItemPointerSet(&end, MaxBlockNumber, MaxOffsetNumber);
    TableScanDesc scan = begin_range_scan(table, GetActiveSnapshot(), &look.next, &end);
    MemoryContext row_memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms row", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(row_memory);
    while (!look.is_over() && table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row)) {
        CHECK_FOR_INTERRUPTS();
        MemoryContextReset(row_memory);
        look.next = place_behind(row->tts_tid);
        if (!slot_attisnull(row, column)) {
            ++look.rows;
            if (const auto key = key_of_row(values, row, {})) {
                note_key(look, *key);
            }
        }
    }
    MemoryContextSwitchTo(caller);
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(row);
}

// What gives a row's key is the owner's code.
ErrorData* error_in_rows(Look& look, Relation table) {
    return error_in_subtransaction(
        [&] { run_owners_code(owner_of(look.relation), [&] { read_rows(look, table); }); },
        Outcome::is_undone);
}

// A row for which it raises is passed over.
void read_table(Look& look, Relation table) {
    ItemPointerSet(&look.next, 0, FirstOffsetNumber);
    while (!look.is_over()) {
        ItemPointerData before = look.next;
        ErrorData* error = error_in_rows(look, table);
        if (error == nullptr) {
            return;
        }
        if (!is_about_a_row(error->sqlerrcode) || ItemPointerEquals(&before, &look.next)) {
            ReThrowError(error);
        }
        look.error = look.error != nullptr ? look.error : error;
        ++look.failed;
    }
}

void read_tables(Look& look) {
    MemoryContextSwitchTo(look.memory);
    const List* tables = find_all_inheritors(look.relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(tables) && !look.is_over(); ++i) {
        const Relation table = table_open(list_nth_oid(tables, i), NoLock);
        if (table->rd_rel->relkind == RELKIND_RELATION) {
            read_table(look, table);
        }
        table_close(table, NoLock);
    }
}

// False where none of them can be.
bool can_seal_under_one(const char* action, std::span<const ByteView> keys) {
    return std::ranges::any_of(keys, [&](ByteView key) {
        KeyTag tag = {};
        forget_key({action, 0, key});
        const Failure failure = find_current_tag({action, 0, {}, {}, key}, tag);
        if (failure && !is_about_a_key(failure)) {
            raise(failure);
        }
        return !failure;
    });
}

[[noreturn]] void raise_none(const Look& look) {
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                    errmsg("no row of \"%s\" names a key", get_rel_name(look.relation)),
                    errdetail("For each of %d rows that have a value the key expression gives "
                              "NULL, or what can be no key's name.",
                              look.rows)));
    pg_unreachable();
}

}  // namespace

void require_some_key(const char* action, Oid relation, const char* column,
                      const char* expression) {
    Look look = {relation, column, expression, CurrentMemoryContext, {}, 0, 0, nullptr, {}};
    without_keeping_locks([&] { read_tables(look); });
    const std::span<const ByteView> keys = look.keys.all();
    if (keys.empty() && look.error != nullptr) {
        ReThrowError(look.error);
    }
    if (keys.empty() && look.rows != 0) {
        raise_none(look);
    }
    if (!keys.empty() && !can_seal_under_one(action, keys)) {
        require_usable_key(action, keys.front());
    }
}

}  // namespace kms::pg
