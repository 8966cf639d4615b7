#include "pg/tables/table_writers.hpp"

#include <iterator>

#include "pg/server/arguments.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

Datum parts_of(Oid relation) {
    return oids_datum(find_all_parts(relation, AccessShareLock));
}

// Of the query's one row and column, in the current memory.
const char* text_of_query(const char* query, int parameters, Oid* types, Datum* values) {
    MemoryContext caller = CurrentMemoryContext;
    const int level = fix_search_path();
    SPI_connect();
    if (SPI_execute_with_args(query, parameters, types, values, nullptr, true, 1) !=
        SPI_OK_SELECT) {
        elog(ERROR, "could not read pg_locks");
    }
    const char* text =
        MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
    SPI_finish();
    AtEOXact_GUC(false, level);
    return text;
}

// A query over those who hold the lock that a write takes: `holder` has their names.
const char* over_holders(const char* query) {
    return psprintf(
        "WITH holder AS (SELECT virtualtransaction AS name FROM pg_locks "
        "WHERE locktype = 'relation' AND relation = ANY ($1) AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()) %s",
        query);
}

}  // namespace

// With the name that each has once it is prepared.
const char* writers_of(Oid relation) {
    Oid types[] = {OIDARRAYOID};
    Datum values[] = {parts_of(relation)};
    const char* query = over_holders(
        "SELECT coalesce(array_agg(DISTINCT name), '{}') FROM (SELECT name FROM holder UNION ALL "
        "SELECT '-1/' || transactionid FROM pg_locks JOIN holder ON name = virtualtransaction "
        "WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock') both_names");
    return text_of_query(query, std::size(types), types, values);
}

std::int64_t count_open_writers(Oid relation, const char* writers) {
    Oid types[] = {OIDARRAYOID, TEXTOID};
    Datum values[] = {parts_of(relation), text_datum(writers)};
    const char* query =
        over_holders("SELECT count(DISTINCT name) FROM holder WHERE name = ANY ($2::text[])");
    return strtoll(text_of_query(query, std::size(types), types, values), nullptr, 10);
}

}  // namespace kms::pg
