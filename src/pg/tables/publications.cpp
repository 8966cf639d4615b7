#include "pg/tables/publications.hpp"

#include "pg/server/arguments.hpp"
#include "pg/tables/owner.hpp"

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

// Of the tables $1 those whose rows subscribers find by the column $2, or by all of them. A
// publication may name a partition, or what it is one of.
constexpr const char* identified_by =
    "SELECT string_agg(t.oid::regclass::text, ', ' ORDER BY t.oid) FROM pg_class t"
    " WHERE t.oid = ANY ($1) AND t.relkind = 'r' AND (t.relreplident = 'f' OR EXISTS ("
    "SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = $2"
    " AND a.attnum = ANY (i.indkey) WHERE i.indrelid = t.oid"
    " AND CASE t.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END))"
    " AND EXISTS (SELECT FROM pg_publication_tables p"
    " JOIN pg_publication b ON b.pubname = p.pubname AND (b.pubupdate OR b.pubdelete)"
    " JOIN pg_namespace n ON n.nspname = p.schemaname"
    " JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename"
    " WHERE c.oid = ANY ($1))";

const char* text_about(const char* query, Oid relation, const char* column) {
    Oid types[] = {OIDARRAYOID, NAMEOID};
    Datum values[] = {oids_datum(find_all_inheritors(relation, AccessShareLock, nullptr)),
                      name_datum(column)};
    const int level = fix_search_path();
    if (SPI_execute_with_args(query, lengthof(types), types, values, nullptr, false, 1) !=
        SPI_OK_SELECT) {
        elog(ERROR, "could not read the publications");
    }
    AtEOXact_GUC(false, level);
    return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

}  // namespace

const char* publications_with_new(Oid relation) {
    return text_about(with_new_column, relation, "");
}

void require_found_by_subscribers(Oid relation, const char* column) {
    if (const char* tables = text_about(identified_by, relation, column)) {
        ereport(
            ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("subscribers find rows of %s by column \"%s\"", tables, column),
             errdetail("By a key that it is in, or by all columns. When it goes, or while it is "
                       "on one side alone, UPDATEs and DELETEs would be lost, or refused."),
             errhint("ALTER TABLE ... REPLICA IDENTITY USING INDEX, or DEFAULT with a PRIMARY "
                     "KEY, over other columns, goes before it.")));
    }
}

}  // namespace kms::pg
