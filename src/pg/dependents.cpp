#include "pg/dependents.hpp"

#include "pg/collected.hpp"
#include "pg/owner.hpp"

namespace kms::pg {
namespace {

// What is recorded as depending on the column. Left out: its own default and NOT NULL, which are
// told above, a sequence of an identity or that goes on with the default, and what belongs to the
// like of a parent. A view is named, and not its rule; what an expression needs besides, a CHECK
// say, goes with the column all the same; a publication counts since its subscribers lose the
// values.
constexpr const char* of_column =
    "SELECT bool_and(d.deptype = 'n') AS in_the_way,"
    " coalesce((SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0) FROM pg_rewrite r"
    " WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid),"
    " pg_describe_object(d.classid, d.objid, d.objsubid)) AS what"
    " FROM pg_depend d"
    " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = $2"
    " AND NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef a"
    " WHERE a.oid = d.objid AND a.adrelid = $1 AND a.adnum = $2))"
    " AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint c"
    " WHERE c.oid = d.objid AND (c.contype = 'n' OR c.coninhcount > 0 AND NOT c.conislocal)))"
    " AND NOT (d.classid = 'pg_class'::regclass AND (d.deptype = 'i' OR $3) AND EXISTS (SELECT"
    " FROM pg_class s WHERE s.oid = d.objid AND s.relkind = 'S'))"
    " AND NOT EXISTS (SELECT FROM pg_depend p WHERE p.classid = d.classid AND p.objid = d.objid"
    " AND p.objsubid = d.objsubid AND p.deptype IN ('P', 'S'))"
    " GROUP BY d.classid, d.objid, d.objsubid"
    " UNION SELECT false, format('security label of %s', l.provider) FROM pg_seclabel l"
    " WHERE l.classoid = 'pg_class'::regclass AND l.objoid = $1 AND l.objsubid = $2"
    " UNION SELECT false, format('constraint %s of type %s', c.conname, format_type(c.contypid, "
    "NULL))"
    " FROM pg_constraint c WHERE c.contype <> 'n' AND c.contypid IN (WITH RECURSIVE domain (oid) "
    "AS ("
    "SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum = $2"
    " UNION SELECT t.typbasetype FROM domain d JOIN pg_type t ON t.oid = d.oid WHERE t.typtype = "
    "'d')"
    " SELECT oid FROM domain)"
    " UNION SELECT false, format('publication %I, whose subscribers keep the column as it is',"
    " p.pubname) FROM pg_publication_tables p, pg_class c, pg_namespace n"
    " WHERE c.oid = $1 AND n.oid = c.relnamespace AND n.nspname = p.schemaname"
    " AND c.relname = p.tablename"
    " ORDER BY 1, 2";

// Rows that are stored elsewhere as one value would lose the column without a word. PostgreSQL
// keeps types from being changed under such values, and lets columns be dropped.
constexpr const char* of_row_type =
    "WITH RECURSIVE made (oid) AS (SELECT reltype FROM pg_class WHERE oid = $1"
    " UNION SELECT o.oid FROM made m, LATERAL ("
    "SELECT t.oid FROM pg_type t WHERE t.typelem = m.oid AND t.typlen = -1 OR t.typbasetype = m.oid"
    " UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngsubtype = m.oid"
    " UNION ALL SELECT c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " WHERE a.atttypid = m.oid AND NOT a.attisdropped AND c.reltype <> 0) o)"
    " SELECT true, format('column %I of table %s, which holds rows of %s', a.attname,"
    " a.attrelid::regclass, $1::regclass)"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'p')"
    " WHERE NOT a.attisdropped AND a.atttypid IN (SELECT oid FROM made WHERE oid <> 0)"
    " ORDER BY 2";

// What is over the row as a whole is recorded as depending on no column. A Var of it has number 0.
constexpr const char* of_whole_row =
    "SELECT true, what || ', which is over the whole row' FROM ("
    "SELECT format('constraint %I', conname), conbin::text FROM pg_constraint"
    " WHERE conrelid = $1 AND NOT (coninhcount > 0 AND NOT conislocal)"
    " UNION ALL SELECT format('index %s', indexrelid::regclass), concat(indexprs, indpred)"
    " FROM pg_index WHERE indrelid = $1"
    " UNION ALL SELECT format('policy %I', polname), concat(polqual, polwithcheck)"
    " FROM pg_policy WHERE polrelid = $1"
    " UNION ALL SELECT format('trigger %I', tgname), tgqual::text FROM pg_trigger"
    " WHERE tgrelid = $1 AND tgparentid = 0"
    " UNION ALL SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0),"
    " concat(r.ev_qual, r.ev_action) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid"
    " WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass"
    " AND d.refobjid = $1 AND d.refobjsubid = 0"
    " UNION ALL SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0), p.prosqlbody::text"
    " FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid"
    " WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_class'::regclass"
    " AND d.refobjid = $1 AND d.refobjsubid = 0) o (what, tree)"
    " WHERE position(':varattno 0 ' in tree) > 0 ORDER BY 2";

void add_found(const char* query, std::span<const Datum> values, Collected<Dependent>& all) {
    Oid types[] = {OIDOID, INT2OID, BOOLOID};
    const int level = fix_search_path();
    if (SPI_execute_with_args(query, static_cast<int>(values.size()), types,
                              const_cast<Datum*>(values.data()), nullptr, true,
                              0) != SPI_OK_SELECT) {
        elog(ERROR, "could not read what depends on a column");
    }
    AtEOXact_GUC(false, level);
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        bool is_null = false;
        const Datum blocks =
            SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null);
        all.add(
            {DatumGetBool(blocks), SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2)});
    }
    SPI_freetuptable(SPI_tuptable);
}

}  // namespace

std::span<const Dependent> dependents_of(Oid table, AttrNumber column, bool keeps_sequence) {
    const Datum values[] = {ObjectIdGetDatum(table), Int16GetDatum(column),
                            BoolGetDatum(keeps_sequence)};
    const std::span<const Datum> all_values(values);
    Collected<Dependent> all;
    add_found(of_column, all_values, all);
    add_found(of_row_type, all_values.first(1), all);
    add_found(of_whole_row, all_values.first(1), all);
    return all.all();
}

}  // namespace kms::pg
