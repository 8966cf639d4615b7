#include "pg/older_snapshots.hpp"

#include "pg/owner.hpp"
#include "pg/registry.hpp"

namespace kms::pg {
namespace {

// The caller's own counts where its snapshot is its transaction's. Who has none will see the rows
// of today.
constexpr const char* older =
    "SELECT string_agg(DISTINCT a.pid::text, ', ')"
    " FROM kms.reencryption r, pg_stat_activity a"
    " WHERE r.relation = $1 AND r.attribute = $2 AND a.xact_start < r.updated"
    " AND a.datname = current_database() AND a.backend_xmin IS NOT NULL"
    " AND a.backend_type <> 'autovacuum worker' AND a.pid <> pg_backend_pid()";

// nullptr: nobody is.
const char* processes_before(const Pair& pair) {
    const AttrNumber filled = get_attnum(pair.relation, pair.to());
    Oid types[] = {OIDOID, INT2OID};
    Datum values[] = {ObjectIdGetDatum(pair.relation), Int16GetDatum(filled)};
    const MemoryContext caller_memory = CurrentMemoryContext;
    const Caller caller = act_as_owner_of(registered_column_table());
    SPI_connect();
    run_command("SELECT pg_stat_clear_snapshot()");
    if (SPI_execute_with_args(older, lengthof(types), types, values, nullptr, true, 1) !=
        SPI_OK_SELECT) {
        elog(ERROR, "could not read pg_stat_activity");
    }
    const char* found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
    const char* processes = found != nullptr ? MemoryContextStrdup(caller_memory, found) : nullptr;
    SPI_finish();
    act_as(caller);
    return processes;
}

}  // namespace

void require_no_older_snapshot(const Pair& pair) {
    if (const char* processes = processes_before(pair)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_IN_USE),
                 errmsg("transactions may still see rows of \"%s\" as they were before column "
                        "\"%s\" was filled",
                        get_rel_name(pair.relation), pair.to()),
                 errdetail("Without column \"%s\" they would read NULL. Processes: %s.",
                           pair.from(), processes),
                 errhint("Let them end, and call it again.")));
    }
}

}  // namespace kms::pg
