#include "pg/pairs/new_column.hpp"

#include "pg/columns/column_state.hpp"
#include "pg/columns/in_step_trigger.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/pairs/succession.hpp"
#include "pg/server/arguments.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/publications.hpp"
#include "pg/tables/stored_expression.hpp"
#include "pg/tables/table_change.hpp"
#include "pg/tables/table_column.hpp"
#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

void require_not_generated(Relation table, AttrNumber source) {
    const auto* column = TupleDescAttr(RelationGetDescr(table), source - 1);
    if (column->attgenerated != '\0') {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("column \"%s\" is a generated column", NameStr(column->attname))));
    }
}

// Money is written as the server's locale has it, and read back as another amount by another.
void require_text_everywhere(Relation table, AttrNumber source) {
    const auto* column = TupleDescAttr(RelationGetDescr(table), source - 1);
    if (is_made_of(column->atttypid, MONEYOID)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("column \"%s\" is of type %s, whose text is not the same everywhere",
                               NameStr(column->attname), format_type_be(column->atttypid)),
                        errhint("ALTER TABLE ... ALTER COLUMN ... TYPE numeric goes before it.")));
    }
}

// Of the table or of a partition.
void require_not_in_partition_key(Oid relation, const char* source) {
    const List* tables = find_all_inheritors(relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(tables); ++i) {
        const Relation table = table_open(list_nth_oid(tables, i), NoLock);
        if (is_in_partition_key(table, get_attnum(RelationGetRelid(table), source))) {
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("column \"%s\" is part of the partition key of \"%s\"", source,
                                   RelationGetRelationName(table))));
        }
        table_close(table, NoLock);
    }
}

// A row with a column that the subscriber's table has not ends its subscription's work.
void require_unpublished(const NewColumn& column) {
    const char* publications = column.published ? nullptr : publications_with_new(column.relation);
    if (publications != nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("\"%s\" is published by %s", get_rel_name(column.relation), publications),
                 errdetail("Subscribers whose tables have no column \"%s\" stop at the first row.",
                           column.name),
                 errhint("Add that column to their tables first, of type %s, and say "
                         "published => true.",
                         type_name(column.type, column.typmod))));
    }
    require_found_by_subscribers(column.relation, column.source);
}

void require_replaceable(Oid relation, AttrNumber source) {
    const Relation table = relation_open(relation, AccessShareLock);
    require_not_generated(table, source);
    require_text_everywhere(table, source);
    relation_close(table, NoLock);
    require_not_in_partition_key(relation, get_attname(relation, source, false));
}

}  // namespace

const char* new_column_name(FunctionCallInfo fcinfo, int index, const char* argument,
                            const char* by_default) {
    const char* name = PG_ARGISNULL(index) ? by_default : pstrdup(NameStr(*PG_GETARG_NAME(index)));
    if (strlen(name) >= NAMEDATALEN) {
        ereport(ERROR,
                (errcode(ERRCODE_NAME_TOO_LONG), errmsg("column name \"%s\" is too long", name),
                 errhint("Say another one with %s => ...", argument)));
    }
    return name;
}

void begin_pair(const Rewriting& run, const char* source) {
    begin_read_committed();
    require_own_table(run.procedure, run.relation);
    let_make_triggers(run.relation);
    begin_behind_others(run.relation);
    require_own_table(run.procedure, run.relation);
    require_named(run.relation, run.source, source);
    require_replaceable(run.relation, run.source);
    require_whole_pairs(run.relation);
}

const char* type_name(Oid type, std::int32_t typmod) {
    return format_type_extended(type, typmod,
                                FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

// In partitions too, each of which has a trigger of its own.
bool fires_everywhere(Oid relation, const char* source) {
    const List* tables = find_all_inheritors(relation, AccessShareLock, nullptr);
    bool fires = true;
    for (int i = 0; i < list_length(tables); ++i) {
        const Relation table = table_open(list_nth_oid(tables, i), NoLock);
        fires = fires && find_in_step_trigger(table, source).fires_always;
        table_close(table, NoLock);
    }
    return fires;
}

// pg_restore --disable-triggers leaves it as one that does not fire in replicas.
void fire_always(const NewColumn& column) {
    const Relation table = relation_open(column.relation, AccessShareLock);
    const char* name = quote_identifier(find_in_step_trigger(table, column.source).name);
    relation_close(table, NoLock);
    change_table({.table = column.relation,
                  .before = "ALTER TABLE ",
                  .after = psprintf(" ENABLE ALWAYS TRIGGER %s", name)},
                 [&] { return fires_everywhere(column.relation, column.source); });
}

// A column of that name may be what a detached partition, or a trigger that was dropped, has left.
[[noreturn]] void raise_exists(const NewColumn& column, AttrNumber found) {
    const bool may_be_left = !column.opens && get_atttype(column.relation, found) == BYTEAOID;
    const char* how_to_clear =
        may_be_left ? psprintf(
                          " Where it is what is left of an encryption whose trigger is gone, "
                          "and every value is in column \"%s\" still, drop it.",
                          column.source)
                    : "";
    ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                    errmsg("column \"%s\" of \"%s\" exists already", column.name,
                           get_rel_name(column.relation)),
                    errhint("Say another one with %s => ...%s",
                            column.opens ? "plain_column" : "encrypted_column", how_to_clear)));
    pg_unreachable();
}

AttrNumber find_new_column(const NewColumn& column) {
    const Relation table = relation_open(column.relation, AccessShareLock);
    const InStepTrigger trigger = find_in_step_trigger(table, column.source);
    relation_close(table, NoLock);
    const AttrNumber found = get_attnum(column.relation, column.name);
    const bool exists = found != InvalidAttrNumber;
    const bool is_ours = trigger.name != nullptr && trigger.opens == column.opens &&
                         strcmp(trigger.target, column.name) == 0;
    if (exists && !is_ours) {
        raise_exists(column, found);
    }
    if (!exists && trigger.name != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is being %s into column \"%s\"",
                               column.source, get_rel_name(column.relation),
                               trigger.opens ? "decrypted" : "encrypted", trigger.target),
                        errhint("Say that one with %s => ... %s",
                                column.opens ? "plain_column" : "encrypted_column",
                                how_to_give_up(trigger))));
    }
    if (exists && !fires_everywhere(column.relation, column.source)) {
        fire_always(column);
    }
    return found;
}

AttrNumber add_new_column(const NewColumn& column) {
    require_unpublished(column);
    AttrNumber added = InvalidAttrNumber;
    change_table({.table = column.relation,
                  .before = "ALTER TABLE ",
                  .after = psprintf(" ADD COLUMN %s %s", quote_identifier(column.name),
                                    type_name(column.type, column.typmod))},
                 [&] {
                     added = get_attnum(column.relation, column.name);
                     return added != InvalidAttrNumber &&
                            get_atttype(column.relation, added) == column.type;
                 });
    make_in_step_trigger(column.relation, {.name = nullptr,
                                           .source = column.source,
                                           .target = column.name,
                                           .opens = column.opens,
                                           .fires_always = false,
                                           .opens_as = column.opens_as});
    fire_always(column);
    return added;
}

void tell_of_switch(const Pair& pair) {
    const Succession succession = succession_of(with_tables(pair));
    if (succession.in_the_way[0] != '\0') {
        ereport(WARNING,
                (errmsg("kms.switch_column() will not drop column \"%s\" while others need it",
                        pair.from()),
                 errdetail("%s", succession.in_the_way), errhint("%s", succession.way_out)));
    }
    if (succession.lost[0] != '\0') {
        ereport(NOTICE,
                (errmsg("kms.switch_column() will not hand on all of column \"%s\"", pair.from()),
                 errdetail("%s", succession.lost),
                 errhint("Make over column \"%s\" what you need of it.%s", pair.to(),
                         pair.opens ? ""
                                    : " UNIQUE and indexes need a blind index there, where equal "
                                      "values are not sealed alike.")));
    }
}

}  // namespace kms::pg
