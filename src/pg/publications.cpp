#include "pg/publications.hpp"

#include "pg/args.hpp"
#include "pg/owner.hpp"

namespace kms::pg {
namespace {

// Of the tables $1. `prattrs` is of PostgreSQL 15 and later: the columns that are published.
constexpr const char* with_new_column =
    "SELECT string_agg(DISTINCT quote_ident(p.pubname), ', ') FROM pg_publication_tables p"
    " JOIN pg_namespace n ON n.nspname = p.schemaname"
    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
    " WHERE c.oid = ANY ($1) AND NOT EXISTS (SELECT FROM pg_publication_rel r"
    " JOIN pg_publication b ON b.oid = r.prpubid"
    " WHERE b.pubname = p.pubname AND r.prrelid = c.oid AND to_jsonb(r) ->> 'prattrs' IS NOT NULL)";

// A publication may name a partition, or what it is one of.
constexpr const char* with_full_identity =
    "SELECT string_agg(t.oid::regclass::text, ', ' ORDER BY t.oid) FROM pg_class t"
    " WHERE t.oid = ANY ($1) AND t.relkind = 'r' AND t.relreplident = 'f' AND EXISTS ("
    "SELECT FROM pg_publication_tables p"
    " JOIN pg_publication b ON b.pubname = p.pubname AND (b.pubupdate OR b.pubdelete)"
    " JOIN pg_namespace n ON n.nspname = p.schemaname"
    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
    " WHERE c.oid = ANY ($1))";

const char* text_about(Oid relation, const char* query) {
    Oid types[] = {OIDARRAYOID};
    Datum values[] = {oids_datum(find_all_inheritors(relation, AccessShareLock, nullptr))};
    const int level = fix_search_path();
    if (SPI_execute_with_args(query, lengthof(types), types, values, nullptr, true, 1) !=
        SPI_OK_SELECT) {
        elog(ERROR, "could not read the publications");
    }
    AtEOXact_GUC(false, level);
    return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

}  // namespace

const char* publications_with_new(Oid relation) {
    return text_about(relation, with_new_column);
}

void require_found_by_subscribers(Oid relation) {
    if (const char* tables = text_about(relation, with_full_identity)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("subscribers find rows of %s by all of their columns", tables),
                 errdetail("Where they have a column that is not here, or the other way round, "
                           "UPDATEs and DELETEs would be lost there."),
                 errhint("ALTER TABLE … REPLICA IDENTITY DEFAULT, with a PRIMARY KEY, or USING "
                         "INDEX, goes before it.")));
    }
}

}  // namespace kms::pg
