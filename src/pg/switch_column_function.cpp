// switch_column: the encrypted column takes over, and the plaintext goes.
#include <algorithm>

#include "pg/collected.hpp"
#include "pg/in_step.hpp"
#include "pg/owner.hpp"
#include "pg/registry.hpp"
#include "pg/table_column.hpp"

namespace kms::pg {
namespace {

constexpr const char* function = "kms.switch_column";
constexpr int rows_at_once = 1000;

// What is compared, and how it is told.
struct Pair {
    Oid relation;
    const char* table;  // its name, quoted
    InStepTrigger trigger;
    const char* cast;
    ByteView key_identifier;
    const char* context;  // SQL
};

Pair find_pair(FunctionCallInfo fcinfo) {
    const Oid relation = relation_argument(fcinfo, 0);
    const AttrNumber plain = column_argument(fcinfo, 1, relation);
    require_own_table(function, relation);
    const Relation table = relation_open(relation, AccessShareLock);
    const InStepTrigger trigger = find_in_step_trigger(table, get_attname(relation, plain, false));
    const char* name = quoted_name(table);
    if (trigger.name != nullptr) {
        require_bytea(table, attribute_named(table, trigger.encrypted));
    }
    relation_close(table, NoLock);
    const RegisteredColumn* column =
        trigger.name == nullptr
            ? nullptr
            : find_registered_column(relation, get_attnum(relation, trigger.encrypted));
    if (column == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is not being encrypted",
                               get_attname(relation, plain, false), get_rel_name(relation)),
                        errhint("CALL kms.encrypt_column() first.")));
    }
    const char* context = column->context_expression;
    return {relation,
            name,
            trigger,
            cast_to_bytes(get_atttype(relation, plain)),
            column->key_identifier,
            context != nullptr ? psprintf("(%s)", context) : "''::bytea"};
}

void run_command(const char* command) {
    if (SPI_execute(command, false, 0) < 0) {
        elog(ERROR, "could not run %s", command);
    }
}

[[noreturn]] void raise_difference(const Pair& pair, HeapTuple row, TupleDesc shape,
                                   const char* what) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("column \"%s\" of \"%s\" cannot be dropped", pair.trigger.plain,
                           get_rel_name(pair.relation)),
                    errdetail("The row at ctid %s of \"%s\" %s.", SPI_getvalue(row, shape, 1),
                              SPI_getvalue(row, shape, 2), what),
                    errhint("Set \"%s\" of the row to NULL, and the trigger seals its value anew.",
                            pair.trigger.encrypted)));
    pg_unreachable();
}

bool is_null_at(HeapTuple row, TupleDesc shape, int column) {
    bool is_null = false;
    (void)SPI_getbinval(row, shape, column, &is_null);
    return is_null;
}

ByteView bytes_at(HeapTuple row, TupleDesc shape, int column) {
    bool is_null = false;
    const Datum value = SPI_getbinval(row, shape, column, &is_null);
    return is_null ? ByteView{} : bytes_of_datum(value);
}

// Rows: ctid, table, plaintext, context, ciphertext.
void compare_rows(const Pair& pair, HeapTuple* rows, TupleDesc shape, std::uint64_t count) {
    auto* calls = allocate_many<Call>(count);
    auto* results = allocate_many<varlena*>(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        if (is_null_at(rows[i], shape, 3) || is_null_at(rows[i], shape, 5)) {
            raise_difference(pair, rows[i], shape, "is not encrypted, or has no plaintext");
        }
        if (is_null_at(rows[i], shape, 4)) {
            raise_difference(pair, rows[i], shape, "has NULL for its context");
        }
        calls[i] = {"open a value with", 0, bytes_at(rows[i], shape, 5),
                    bytes_at(rows[i], shape, 4), pair.key_identifier};
    }
    std::size_t done = 0;
    const Failure failure = transform(Way::open, {calls, count}, results, done);
    for (std::size_t i = 0; i < done; ++i) {
        if (!std::ranges::equal(bytes_in(results[i]), bytes_at(rows[i], shape, 3))) {
            raise_difference(pair, rows[i], shape, "has two values that do not agree");
        }
    }
    if (failure) {
        raise(failure);
    }
}

const char* rows_of(const Pair& pair) {
    const char* plain = quote_identifier(pair.trigger.plain);
    const char* encrypted = quote_identifier(pair.trigger.encrypted);
    return psprintf(
        "SELECT r.ctid, r.tableoid::regclass, r.%s%s, %s, r.%s FROM %s AS r "
        "WHERE r.%s IS NOT NULL OR r.%s IS NOT NULL",
        plain, pair.cast, pair.context, encrypted, pair.table, plain, encrypted);
}

std::int64_t compare_all(const Pair& pair) {
    SPIPlanPtr plan = SPI_prepare(rows_of(pair), 0, nullptr);
    Portal cursor = SPI_cursor_open(nullptr, plan, nullptr, nullptr, false);
    MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms rows", ALLOCSET_DEFAULT_SIZES);
    std::int64_t compared = 0;
    for (;;) {
        SPI_cursor_fetch(cursor, true, rows_at_once);
        if (SPI_processed == 0) {
            break;
        }
        MemoryContext caller = MemoryContextSwitchTo(memory);
        compare_rows(pair, SPI_tuptable->vals, SPI_tuptable->tupdesc, SPI_processed);
        compared += static_cast<std::int64_t>(SPI_processed);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(memory);
        SPI_freetuptable(SPI_tuptable);
    }
    SPI_cursor_close(cursor);
    return compared;
}

// A snapshot of before the lock would not show what has been written until then.
void require_read_committed() {
    if (IsolationUsesXactSnapshot()) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("%s needs the isolation level READ COMMITTED", function)));
    }
}

}  // namespace

KMS_FUNCTION(kms_switch_column) {
    require_read_committed();
    SPI_connect();
    const int level = fix_search_path();
    (void)set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                            true, 0, false);
    fix_text_settings(GUC_ACTION_SAVE);
    Pair pair = find_pair(fcinfo);
    run_command(psprintf("LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", pair.table));
    const std::int64_t compared = compare_all(pair);
    run_command(psprintf("DROP TRIGGER %s ON %s", quote_identifier(pair.trigger.name), pair.table));
    run_command(psprintf("ALTER TABLE %s DROP COLUMN %s", pair.table,
                         quote_identifier(pair.trigger.plain)));
    AtEOXact_GUC(false, level);
    ereport(NOTICE,
            (errmsg("%lld rows of \"%s\" have their values in column \"%s\" alone",
                    static_cast<long long>(compared), get_rel_name(pair.relation),
                    pair.trigger.encrypted),
             errdetail("The plaintext is still in the table's files, in WAL and in backups."),
             errhint("VACUUM FULL rewrites the table; WAL and backups go as they are recycled.")));
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
