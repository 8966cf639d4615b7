// Which columns are not rewritten, and why.
#include "pg/columns/sealed_contexts.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/tables/elsewhere.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/stored_expression.hpp"
#include "pg/tables/subscriptions.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

[[noreturn]] void refuse(const Rewriting& run, int sqlstate, const char* reason, const char* hint) {
    ereport(ERROR,
            (errcode(sqlstate), errmsg("%s cannot rewrite %s", run.procedure, column_label(run)),
             errdetail("%s", reason), hint[0] != '\0' ? errhint("%s", hint) : 0));
    pg_unreachable();
}

const char* name_of(Relation table) {
    return RelationGetRelationName(table);
}

bool is_as_replica(const Rewriting& run) {
    return run.triggers == Triggers::skip ||
           SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

bool fires(const Rewriting& run, const Trigger& trigger) {
    return trigger.tgenabled == TRIGGER_FIRES_ALWAYS ||
           trigger.tgenabled ==
               (is_as_replica(run) ? TRIGGER_FIRES_ON_REPLICA : TRIGGER_FIRES_ON_ORIGIN);
}

bool is_about(const Trigger& trigger, AttrNumber attribute) {
    const std::int16_t* columns = trigger.tgattr;
    return TRIGGER_FOR_UPDATE(trigger.tgtype) &&
           (trigger.tgnattr == 0 || std::count(columns, columns + trigger.tgnattr, attribute) != 0);
}

void require_quiet_triggers(const Rewriting& run, Relation table) {
    const AttrNumber target = column_in(run, table, run.target);
    const TriggerDesc* triggers = table->trigdesc;  // replaced whenever catalogs are looked into
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        if (!trigger.tgisinternal && is_about(trigger, target) && fires(run, trigger) &&
            trigger.tgfoid != run.own_trigger) {
            refuse(run, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   psprintf("Trigger \"%s\" of \"%s\" fires on an update of the column.",
                            trigger.tgname, name_of(table)),
                   run.triggers == Triggers::skip
                       ? "It fires in replicas too. Where nobody writes meanwhile, disable it."
                       : "Say triggers => 'fire' where it leaves the column as it is or, as a "
                         "superuser, triggers => 'skip'. One that writes whole rows elsewhere, as "
                         "NEW.*, is to name its columns first.");
        }
    }
}

// A statement of ours collects no rows for them.
void require_no_transition_tables(const Rewriting& run, Relation table) {
    const TriggerDesc* triggers = table->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        const bool has_table = trigger.tgoldtable != nullptr || trigger.tgnewtable != nullptr;
        if (has_table && TRIGGER_FOR_UPDATE(trigger.tgtype) && fires(run, trigger)) {
            refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
                   psprintf("Trigger \"%s\" of \"%s\" has a transition table.", trigger.tgname,
                            name_of(table)),
                   "Say triggers => 'skip', as a superuser.");
        }
    }
}

void require_visible_rows(const Rewriting& run, Relation table) {
    if (check_enable_rls(RelationGetRelid(table), InvalidOid, true) == RLS_ENABLED) {
        refuse(run, ERRCODE_INSUFFICIENT_PRIVILEGE,
               psprintf("Rows of \"%s\" may be hidden by its row-level security policies.",
                        name_of(table)),
               "Call it as a superuser, or as a member of the owning role with BYPASSRLS.");
    }
}

void require_no_update_rule(const Rewriting& run, Relation table) {
    const RuleLock* rules = table->rd_rules;
    for (int i = 0; rules != nullptr && i < rules->numLocks; ++i) {
        if (rules->rules[i]->event == CMD_UPDATE) {
            refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
                   psprintf("\"%s\" has a rule ON UPDATE.", name_of(table)), "");
        }
    }
}

// A constraint that is deferrable lets duplicates in, which a trigger then finds: a replica has
// none.
void require_no_deferrable_index(const Rewriting& run, Relation table) {
    const AttrNumber target = column_in(run, table, run.target);
    const List* indexes = RelationGetIndexList(table);
    for (int i = 0; i < list_length(indexes); ++i) {
        const Relation index = index_open(list_nth_oid(indexes, i), AccessShareLock);
        if (!index->rd_index->indimmediate && is_in_index(index, target)) {
            refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
                   psprintf("Constraint \"%s\" of \"%s\" is deferrable, and only a trigger of the "
                            "system's finds its duplicates.",
                            name_of(index), name_of(table)),
                   run.triggers == Triggers::skip ? "Make the constraint anew for the run, not "
                                                    "deferrable: no trigger that seals is to "
                                                    "be disabled."
                                                  : "RESET session_replication_role.");
        }
        index_close(index, AccessShareLock);
    }
}

void require_not_generated_from(const Rewriting& run, Relation table) {
    const AttrNumber target = column_in(run, table, run.target);
    const TupleDesc shape = RelationGetDescr(table);
    for (int i = 0; i < shape->natts; ++i) {
        const auto* column = TupleDescAttr(shape, i);
        if (column->attisdropped || column->attgenerated == '\0') {
            continue;
        }
        if (column->attnum == target ||
            is_in_expression(build_column_default(table, column->attnum), target)) {
            refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
                   psprintf("Column \"%s\" of \"%s\" is generated from it.",
                            NameStr(column->attname), name_of(table)),
                   "");
        }
    }
}

void require_not_in_partition_key(const Rewriting& run, Relation table) {
    if (is_in_partition_key(table, column_in(run, table, run.target))) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
               psprintf("It is part of the partition key of \"%s\".", name_of(table)), "");
    }
}

// Rewritten, one side would no longer match the other; and what checks that is itself a trigger.
void require_no_foreign_key(const Rewriting& run, Relation table) {
    Oid types[] = {OIDOID, INT2OID};
    Datum values[] = {ObjectIdGetDatum(RelationGetRelid(table)),
                      Int16GetDatum(column_in(run, table, run.target))};
    SPI_execute_with_args(
        "SELECT FROM pg_catalog.pg_constraint WHERE contype OPERATOR(pg_catalog.=) 'f' AND ("
        "conrelid OPERATOR(pg_catalog.=) $1 AND "
        "$2 OPERATOR(pg_catalog.=) ANY (conkey) OR "
        "confrelid OPERATOR(pg_catalog.=) $1 AND "
        "$2 OPERATOR(pg_catalog.=) ANY (confkey))",
        2, types, values, nullptr, true, 1);
    if (SPI_processed != 0) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
               psprintf("It is part of a foreign key of or to \"%s\".", name_of(table)), "");
    }
}

// Rewritten, it would not be what they were sealed under.
void require_in_no_context(const Rewriting& run) {
    const char* column = get_attname(run.relation, run.target, false);
    if (const RegisteredColumn* sealed = sealed_under(run.relation, column)) {
        refuse(run, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
               psprintf("The values of %s are sealed under it.", full_name(*sealed)),
               how_to_come_away(*sealed));
    }
}

void require_rows_here(const Rewriting& run, Relation table) {
    if (const char* why = why_elsewhere(RelationGetRelid(table))) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED, psprintf("\"%s\" %s.", name_of(table), why),
               "Call it where its rows are: on the other server, or on each shard.");
    }
}

void require_found_by_subscription(const Rewriting& run, Relation table) {
    Oid subscription = subscription_to(RelationGetRelid(table));
    const List* above = find_all_ancestors(RelationGetRelid(table));
    for (int i = 0; i < list_length(above) && !OidIsValid(subscription); ++i) {
        subscription = subscription_to(list_nth_oid(above, i));
    }
    if (OidIsValid(subscription) &&
        !is_identified_without(table, column_in(run, table, run.target))) {
        refuse(run, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
               psprintf("Subscription \"%s\" changes rows of \"%s\", which has no key without the "
                        "column: it would find no row any more that this run has written.",
                        shown_subscription(subscription), name_of(table)),
               "Make a PRIMARY KEY here, or REPLICA IDENTITY USING INDEX, over other columns.");
    }
}

void require_table_of_rows(const Rewriting& run, Relation table) {
    if (table->rd_rel->relam != HEAP_TABLE_AM_OID) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
               psprintf("\"%s\" is no heap table.", name_of(table)), "");
    }
    CheckCmdReplicaIdentity(table, CMD_UPDATE);
    require_found_by_subscription(run, table);
}

void require_kind(const Rewriting& run, Relation table) {
    const char kind = table->rd_rel->relkind;
    if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
               psprintf("\"%s\" is not a table.", name_of(table)), "");
    }
    if (IsSystemRelation(table)) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
               psprintf("\"%s\" is a system catalog.", name_of(table)), "");
    }
}

}  // namespace

void require_rewritable_table(const Rewriting& run, Relation table) {
    if (RELATION_IS_OTHER_TEMP(table)) {
        refuse(run, ERRCODE_FEATURE_NOT_SUPPORTED,
               psprintf("\"%s\" is a temporary table of another session.", name_of(table)), "");
    }
    require_rows_here(run, table);
    require_visible_rows(run, table);
    if (run.triggers == Triggers::fire) {
        require_no_transition_tables(run, table);
    } else {
        require_quiet_triggers(run, table);
    }
    if (is_as_replica(run)) {
        require_no_deferrable_index(run, table);
    }
    require_no_update_rule(run, table);
    require_not_generated_from(run, table);
    require_not_in_partition_key(run, table);
    require_no_foreign_key(run, table);
    if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) {
        require_table_of_rows(run, table);
    }
}

void require_rewritable(const Rewriting& run) {
    const Relation relation = relation_open(run.relation, AccessShareLock);
    require_kind(run, relation);
    require_owner(run.relation);
    require_bytea(relation, run.registered());
    require_in_no_context(run);
    relation_close(relation, NoLock);
    require_none_detaching(run.relation);
    require_one_owner(run.relation);
    const List* all = find_all_inheritors(run.relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(all); ++i) {
        const Relation table = table_open(list_nth_oid(all, i), NoLock);
        require_rewritable_table(run, table);
        table_close(table, NoLock);
    }
}

}  // namespace kms::pg
