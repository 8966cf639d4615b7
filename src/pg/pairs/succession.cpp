#include "pg/pairs/succession.hpp"

#include "pg/columns/sealed_contexts.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/pairs/dependents.hpp"
#include "pg/pairs/handed_default.hpp"
#include "pg/server/collected.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/stored_expression.hpp"
#include "pg/tables/subscriptions.hpp"
#include "pg/tables/table_change.hpp"

namespace kms::pg {
namespace {

struct Lines {
    StringInfoData handed_on;
    StringInfoData lost;
    StringInfoData in_the_way;
    StringInfoData way_out;
};

// Of the relation, or of a partition.
struct Heirs {
    PairTable columns;
    Relation table;
    AttrNumber from;
    AttrNumber to;     // InvalidAttrNumber: it is not there yet
    const char* name;  // of the table, to be shown
};

void add_line(StringInfo lines, const char* line) {
    appendStringInfo(lines, "%s%s", lines->len == 0 ? "" : "\n", line);
}

void add_in_the_way(Lines& lines, const char* what, const char* way_out) {
    add_line(&lines.in_the_way, what);
    if (strstr(lines.way_out.data, way_out) == nullptr) {
        appendStringInfo(&lines.way_out, "%s%s", lines.way_out.len == 0 ? "" : " ", way_out);
    }
}

// What PostgreSQL tells of.
const char* how_to_make_anew(const Pair& pair) {
    return psprintf(
        "Make what needs it anew over column \"%s\", policies in one transaction with "
        "the switch; or drop what nobody needs.",
        pair.to());
}

template <typename Act>
void for_each_table(const Pair& pair, Act&& act) {
    for (const PairTable& columns : pair.tables) {
        const Relation table = open_unchanged(pair, columns);
        act(Heirs{.columns = columns,
                  .table = table,
                  .from = pair.from(columns).number,
                  .to = pair.to(columns).number,
                  .name = quoted_name(columns.oid)});
        table_close(table, NoLock);
    }
}

const FormData_pg_attribute& column_of(Relation table, AttrNumber attribute) {
    return *TupleDescAttr(RelationGetDescr(table), attribute - 1);
}

bool has_heir(const Heirs& heirs) {
    return heirs.to != InvalidAttrNumber;
}

// --- NOT NULL

bool is_never_null(Oid type) {
    bool found = false;
    while (!found && get_typtype(type) == TYPTYPE_DOMAIN) {
        HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
        if (!HeapTupleIsValid(tuple)) {
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                            errmsg("type with OID %u does not exist", type)));
        }
        const auto* domain = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple));
        found = domain->typnotnull;
        type = domain->typbasetype;
        ReleaseSysCache(tuple);
    }
    return found;
}

// That of the column, or of its type.
bool hands_on_not_null(const Heirs& heirs) {
    const FormData_pg_attribute& column = column_of(heirs.table, heirs.from);
    return (column.attnotnull || is_never_null(column.atttypid)) &&
           !(has_heir(heirs) && column_of(heirs.table, heirs.to).attnotnull);
}

// --- the DEFAULT

bool has_own_default(const Heirs& heirs) {
    return has_heir(heirs) && column_of(heirs.table, heirs.to).atthasdef;
}

// What is lost without what it is: that stands in an error, and may be a plaintext.
void describe_default(const Pair& pair, const Heirs& heirs, Lines& lines) {
    const HandedDefault found = handed_default(pair, heirs.table, heirs.from);
    if (!found.is_there || has_own_default(heirs)) {
        return;
    }
    if (found.expression == nullptr) {
        add_line(&lines.lost,
                 psprintf("DEFAULT of table %s, since %s", heirs.name, found.obstacle));
    } else {
        add_line(&lines.handed_on,
                 psprintf("DEFAULT of table %s, as %s", heirs.name, deparsed(found.expression)));
    }
}

// --- privileges and comment

HeapTuple require_attribute(Relation table, AttrNumber attribute) {
    HeapTuple tuple = SearchSysCacheCopyAttNum(RelationGetRelid(table), attribute);
    if (!HeapTupleIsValid(tuple)) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("a column of \"%s\" was dropped while it was being switched",
                               RelationGetRelationName(table))));
    }
    return tuple;
}

Datum acl_of(const Heirs& heirs, AttrNumber attribute, bool* is_null) {
    HeapTuple tuple = require_attribute(heirs.table, attribute);
    return SysCacheGetAttr(ATTNUM, tuple, Anum_pg_attribute_attacl, is_null);
}

const char* comment_of(const Heirs& heirs, AttrNumber attribute) {
    return GetComment(RelationGetRelid(heirs.table), RelationRelationId, attribute);
}

bool hands_on_comment(const Heirs& heirs) {
    return comment_of(heirs, heirs.from) != nullptr &&
           !(has_heir(heirs) && comment_of(heirs, heirs.to) != nullptr);
}

void describe_properties(const Pair& pair, const Heirs& heirs, Lines& lines) {
    if (hands_on_not_null(heirs)) {
        add_line(&lines.handed_on, psprintf("NOT NULL of table %s", heirs.name));
    }
    describe_default(pair, heirs, lines);
    bool has_none = false;
    (void)acl_of(heirs, heirs.from, &has_none);
    if (!has_none) {
        // Whoever was given sealed values was not given what is in them.
        add_line(pair.opens ? &lines.lost : &lines.handed_on,
                 psprintf("privileges on the column of table %s", heirs.name));
    }
    if (column_of(heirs.table, heirs.from).attidentity != '\0') {
        add_line(&lines.lost, psprintf("identity of table %s", heirs.name));
    }
    if (hands_on_comment(heirs)) {
        add_line(&lines.handed_on, psprintf("comment on the column of table %s", heirs.name));
    }
}

// --- what else there is

void describe_partition_key(const Pair& pair, const Heirs& heirs, Lines& lines) {
    if (is_in_partition_key(heirs.table, heirs.from)) {
        add_in_the_way(lines, psprintf("partition key of table %s", heirs.name),
                       how_to_make_anew(pair));
    }
}

// Their values could not be opened any more.
void describe_contexts(const Heirs& heirs, Lines& lines) {
    for (const RegisteredColumn& column : registered_columns()) {
        if (column.relation != RelationGetRelid(heirs.table)) {
            continue;
        }
        require_intact(column, BYTEAOID);
        if (is_opened_with(heirs.table, heirs.from, column)) {
            const char* what = column.key_expression != nullptr ? "key or context" : "context";
            add_in_the_way(
                lines, psprintf("%s expression of registered column %s", what, full_name(column)),
                how_to_come_away(column));
        }
    }
}

// It goes on with the column, and ends at the first row that comes without.
void describe_subscription(const Heirs& heirs, Lines& lines) {
    const Oid subscription = subscription_to(heirs.columns.oid);
    if (OidIsValid(subscription)) {
        add_line(&lines.lost,
                 psprintf("subscription \"%s\", which stops where it brings the column",
                          shown_subscription(subscription)));
    }
}

void add_lines(const Pair& pair, std::span<const Dependent> dependents, Lines& lines) {
    for (const Dependent& each : dependents) {
        each.blocks ? add_in_the_way(lines, each.what, how_to_make_anew(pair))
                    : add_line(&lines.lost, each.what);
    }
}

// With the DEFAULT, or the new column has one of its own, which may use it.
bool hands_on_sequences(const Pair& pair, const Heirs& heirs) {
    return has_own_default(heirs) ||
           handed_default(pair, heirs.table, heirs.from).expression != nullptr;
}

void describe_holders_of_rows(const Pair& pair, Lines& lines) {
    List* tables = NIL;
    for (const PairTable& table : pair.tables) {
        tables = lappend_oid(tables, table.oid);
    }
    add_lines(pair, holders_of_rows(tables), lines);
}

void describe(const Pair& pair, const Heirs& heirs, Lines& lines) {
    describe_properties(pair, heirs, lines);
    describe_partition_key(pair, heirs, lines);
    describe_contexts(heirs, lines);
    describe_subscription(heirs, lines);
    const Oid table = RelationGetRelid(heirs.table);
    add_lines(pair, dependents_of(table, heirs.from, hands_on_sequences(pair, heirs)), lines);
}

// --- doing it

// What wants the table closed.
struct Bequest {
    PairTable table;
    Node* expression;       // the DEFAULT; nullptr: none
    const List* sequences;  // of the column
    bool has_not_null;
};

void set_default(Oid table, AttrNumber column, Node* expression) {
    auto* command = make_node<AlterTableCmd>(T_AlterTableCmd);
    command->subtype = AT_CookedColumnDefault;
    command->num = column;
    command->def = expression;
    EventTriggerInhibitCommandCollection();
    AlterTableInternal(table, list_make1(command), false);
    EventTriggerUndoInhibitCommandCollection();
    CommandCounterIncrement();
}

bool is_owned_by(Oid sequence, Oid table, AttrNumber column) {
    Oid of_table = InvalidOid;
    std::int32_t of_column = 0;
    return sequenceIsOwned(sequence, DEPENDENCY_AUTO, &of_table, &of_column) && of_table == table &&
           of_column == column;
}

void give_sequence(Oid sequence, Oid table, AttrNumber column) {
    const char* to = quote_identifier(get_attname(table, column, false));
    change_table({.table = table,
                  .before = psprintf("ALTER SEQUENCE %s OWNED BY ", quoted_name(sequence)),
                  .after = psprintf(".%s", to)},
                 [&] { return is_owned_by(sequence, table, column); });
}

bool is_not_null(Oid table, AttrNumber column) {
    HeapTuple row = SearchSysCacheCopyAttNum(table, column);
    return HeapTupleIsValid(row) && reinterpret_cast<Form_pg_attribute>(GETSTRUCT(row))->attnotnull;
}

void set_not_null(Oid table, AttrNumber column) {
    const char* to = quote_identifier(get_attname(table, column, false));
    change_table({.table = table,
                  .before = "ALTER TABLE ",
                  .after = psprintf(" ALTER COLUMN %s SET NOT NULL", to)},
                 [&] { return is_not_null(table, column); });
}

// Each command may run the owner's code.
void carry_out(const Pair& pair, const Bequest& bequest) {
    const Oid table = bequest.table.oid;
    const AttrNumber to = pair.to(bequest.table).number;
    require_unchanged(pair, bequest.table);
    if (bequest.expression != nullptr) {
        run_owners_code(owner_of(pair.relation),
                        [&] { set_default(table, to, bequest.expression); });
    }
    for (int i = 0; i < list_length(bequest.sequences); ++i) {
        give_sequence(list_nth_oid(bequest.sequences, i), table, to);
    }
    if (bequest.has_not_null) {
        set_not_null(table, to);
    }
}

const List* sequences_of(Oid table, AttrNumber column) {
    const List* all = getOwnedSequences(table);
    List* owned = NIL;
    for (int i = 0; i < list_length(all); ++i) {
        const Oid sequence = list_nth_oid(all, i);
        if (is_owned_by(sequence, table, column)) {
            owned = lappend_oid(owned, sequence);
        }
    }
    return owned;
}

Bequest bequest_of(const Pair& pair, const Heirs& heirs) {
    Bequest bequest = {.table = heirs.columns,
                       .expression = nullptr,
                       .sequences = NIL,
                       .has_not_null = hands_on_not_null(heirs)};
    if (!has_own_default(heirs)) {
        bequest.expression = handed_default(pair, heirs.table, heirs.from).expression;
    }
    if (hands_on_sequences(pair, heirs)) {
        bequest.sequences = sequences_of(heirs.columns.oid, heirs.from);
    }
    return bequest;
}

void write_privileges(Relation table, AttrNumber attribute, const Acl* before, Acl* after) {
    const Oid relation = RelationGetRelid(table);
    const Relation attributes = table_open(AttributeRelationId, RowExclusiveLock);
    HeapTuple tuple = require_attribute(table, attribute);
    int column = Anum_pg_attribute_attacl;
    Datum value = PointerGetDatum(after);
    bool is_null = false;
    tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(attributes), 1, &column, &value,
                                      &is_null);
    CatalogTupleUpdate(attributes, &tuple->t_self, tuple);
    Oid* members_before = nullptr;
    Oid* members_after = nullptr;
    const int count_before = aclmembers(before, &members_before);
    const int count_after = aclmembers(after, &members_after);
    updateAclDependencies(RelationRelationId, relation, attribute, table->rd_rel->relowner,
                          count_before, members_before, count_after, members_after);
    table_close(attributes, RowExclusiveLock);
    CommandCounterIncrement();
}

// As they are in the catalog: GRANT knows no other grantor than who calls it.
void hand_on_privileges(const Pair& pair, const Heirs& heirs) {
    bool has_none = false;
    const Datum acl = acl_of(heirs, heirs.from, &has_none);
    if (has_none || pair.opens) {
        return;
    }
    const Datum own = acl_of(heirs, heirs.to, &has_none);
    const Acl* before = has_none ? nullptr : DatumGetAclPCopy(own);
    Acl* handed = DatumGetAclPCopy(acl);
    Acl* after =
        before == nullptr ? handed : aclmerge(before, handed, heirs.table->rd_rel->relowner);
    write_privileges(heirs.table, heirs.to, before, after);
}

void hand_on_comment(const Heirs& heirs) {
    if (hands_on_comment(heirs)) {
        CreateComments(RelationGetRelid(heirs.table), RelationRelationId, heirs.to,
                       comment_of(heirs, heirs.from));
    }
}

}  // namespace

Succession succession_of(const Pair& pair) {
    Lines lines;
    initStringInfo(&lines.handed_on);
    initStringInfo(&lines.lost);
    initStringInfo(&lines.in_the_way);
    initStringInfo(&lines.way_out);
    for_each_table(pair, [&](const Heirs& heirs) { describe(pair, heirs, lines); });
    describe_holders_of_rows(pair, lines);
    return {lines.handed_on.data, lines.lost.data, lines.in_the_way.data, lines.way_out.data};
}

void hand_on(const Pair& pair) {
    Collected<Bequest> bequests;
    for_each_table(pair, [&](const Heirs& heirs) {
        hand_on_privileges(pair, heirs);
        hand_on_comment(heirs);
        bequests.add(bequest_of(pair, heirs));
    });
    for (const Bequest& bequest : bequests.all()) {
        carry_out(pair, bequest);
    }
}

}  // namespace kms::pg
