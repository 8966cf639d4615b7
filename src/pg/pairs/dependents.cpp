#include "pg/pairs/dependents.hpp"

#include "pg/server/arguments.hpp"
#include "pg/server/collected.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/whole_row.hpp"

namespace kms::pg {
namespace {

// What is recorded as depending on the column. Left out: its own default and NOT NULL, which are
// told above, a sequence of an identity or that goes on with the default, and what belongs to the
// like of a parent. A view is named, and not its rule; what an expression needs besides, a CHECK
// say, goes with the column all the same; a publication counts since its subscribers lose the
// values: `attnames`, the columns that it publishes, is of PostgreSQL 15 and later.
constexpr const char* of_column =
    "SELECT bool_and(d.deptype = 'n') AS in_the_way,"
    " coalesce((SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0) FROM pg_rewrite r"
    " WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> $1),"
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
    " AND c.relname = p.tablename AND coalesce(to_jsonb(p) -> 'attnames' ? (SELECT attname::text"
    " FROM pg_attribute WHERE attrelid = $1 AND attnum = $2), true)"
    " ORDER BY 1, 2";

// Rows that are stored elsewhere as one value would lose the column without a word. PostgreSQL
// keeps types from being changed under such values, and lets columns be dropped. Of all tables at
// once: the catalogs are read as a whole.
constexpr const char* of_row_types =
    "WITH RECURSIVE made (oid, row) AS (SELECT reltype, oid FROM pg_class WHERE oid = ANY ($1)"
    " AND reltype <> 0 UNION SELECT o.oid, m.row FROM made m JOIN ("
    "SELECT t.oid, t.typelem FROM pg_type t WHERE t.typlen = -1"
    " UNION ALL SELECT t.oid, t.typbasetype FROM pg_type t"
    " UNION ALL SELECT r.rngtypid, r.rngsubtype FROM pg_range r"
    " UNION ALL SELECT r.rngmultitypid, r.rngtypid FROM pg_range r"
    " UNION ALL SELECT c.reltype, a.atttypid FROM pg_attribute a JOIN pg_class c"
    " ON c.oid = a.attrelid WHERE NOT a.attisdropped AND c.reltype <> 0) o (oid, of)"
    " ON o.of = m.oid)"
    " SELECT true, format('column %I of table %s, which holds rows of %s', a.attname,"
    " a.attrelid::regclass, m.row::regclass)"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'p')"
    " JOIN made m ON m.oid = a.atttypid WHERE NOT a.attisdropped ORDER BY 2";

// What may be over the row as a whole: a tree each, and the relation that its expressions are over.
constexpr const char* with_trees =
    "SELECT what, own, tree::text FROM ("
    "SELECT format('constraint %I', conname), conrelid, conbin FROM pg_constraint"
    " WHERE conrelid = $1 AND NOT (coninhcount > 0 AND NOT conislocal)"
    " UNION ALL SELECT format('index %s', i.indexrelid::regclass), i.indrelid, t.tree"
    " FROM pg_index i, LATERAL (VALUES (i.indexprs), (i.indpred)) t (tree) WHERE i.indrelid = $1"
    " UNION ALL SELECT format('trigger %I', tgname), tgrelid, tgqual FROM pg_trigger"
    " WHERE tgrelid = $1 AND tgparentid = 0"
    " UNION ALL SELECT pg_describe_object('pg_policy'::regclass, p.oid, 0), p.polrelid, t.tree"
    " FROM pg_policy p, LATERAL (VALUES (p.polqual), (p.polwithcheck)) t (tree)"
    " WHERE p.polrelid = $1 OR EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid"
    " AND d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_class'::regclass"
    " AND d.refobjid = $1)"
    " UNION ALL SELECT CASE r.ev_class WHEN $1 THEN pg_describe_object('pg_rewrite'::regclass,"
    " r.oid, 0) ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END,"
    " r.ev_class, t.tree"
    " FROM pg_rewrite r, LATERAL (VALUES (r.ev_qual), (r.ev_action)) t (tree)"
    " WHERE EXISTS (SELECT FROM pg_depend d WHERE d.objid = r.oid"
    " AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass"
    " AND d.refobjid = $1)"
    " UNION ALL SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0), 0, p.prosqlbody"
    " FROM pg_proc p WHERE p.prosqlbody IS NOT NULL AND EXISTS (SELECT FROM pg_depend d"
    " WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass"
    " AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1)) o (what, own, tree)"
    " WHERE tree IS NOT NULL AND tree::text <> '<>' ORDER BY what";

struct Parameters {
    std::span<const Oid> types;
    std::span<const Datum> values;
};

// Whoever has waited for a lock is told what others have done until then: the snapshot is a new
// one. To compile the queries takes longer than they do.
void run(const char* query, const Parameters& parameters) {
    const int level = fix_search_path();
    set_meanwhile("jit", "off");
    if (SPI_execute_with_args(query, static_cast<int>(parameters.values.size()),
                              const_cast<Oid*>(parameters.types.data()),
                              const_cast<Datum*>(parameters.values.data()), nullptr, false,
                              0) != SPI_OK_SELECT) {
        elog(ERROR, "could not read what depends on a column");
    }
    AtEOXact_GUC(false, level);
}

const char* text_in(std::uint64_t row, int column) {
    return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

Datum value_in(std::uint64_t row, int column) {
    bool is_null = false;
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &is_null);
}

// What is gone by now has no description.
void add_recorded(const char* query, const Parameters& parameters, Collected<Dependent>& all) {
    run(query, parameters);
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        if (const char* what = text_in(i, 2)) {
            all.add({DatumGetBool(value_in(i, 1)), what});
        }
    }
    SPI_freetuptable(SPI_tuptable);
}

// A view has a tree for each of its rules.
bool is_last(const Collected<Dependent>& all, const char* what) {
    return !all.all().empty() && strcmp(all.all().back().what, what) == 0;
}

void add_over_whole_row(Oid table, Collected<Dependent>& all) {
    const Oid types[] = {OIDOID};
    const Datum values[] = {ObjectIdGetDatum(table)};
    run(with_trees, {types, values});
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        const char* which = text_in(i, 1);
        if (which == nullptr ||
            !is_over_whole_row(text_in(i, 3), DatumGetObjectId(value_in(i, 2)), table)) {
            continue;
        }
        const char* what = psprintf("%s, which is over the whole row", which);
        if (!is_last(all, what)) {
            all.add({true, what});
        }
    }
    SPI_freetuptable(SPI_tuptable);
}

}  // namespace

std::span<const Dependent> dependents_of(Oid table, AttrNumber column, bool keeps_sequence) {
    const Oid types[] = {OIDOID, INT2OID, BOOLOID};
    const Datum values[] = {ObjectIdGetDatum(table), Int16GetDatum(column),
                            BoolGetDatum(keeps_sequence)};
    Collected<Dependent> all;
    add_recorded(of_column, {types, values}, all);
    add_over_whole_row(table, all);
    return all.all();
}

std::span<const Dependent> holders_of_rows(const List* tables) {
    const Oid types[] = {OIDARRAYOID};
    const Datum values[] = {oids_datum(tables)};
    Collected<Dependent> all;
    add_recorded(of_row_types, {types, values}, all);
    return all.all();
}

}  // namespace kms::pg
