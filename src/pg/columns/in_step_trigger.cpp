#include "pg/columns/in_step_trigger.hpp"

#include "pg/columns/registry.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

InStepTrigger in_step_trigger(const Trigger& trigger) {
    char** names = trigger.tgargs;
    const bool opens = is_opening(trigger);
    return {.name = pstrdup(trigger.tgname),
            .source = pstrdup(names[0]),
            .target = pstrdup(names[1]),
            .opens = opens,
            .fires_always = trigger.tgenabled == TRIGGER_FIRES_ALWAYS,
            .opens_as = opens ? OpensAs{pstrdup(names[3]), pstrdup(names[4])} : OpensAs{}};
}

// The first that fits.
template <typename Fits>
InStepTrigger find_trigger(Relation table, Fits&& fits) {
    const Oid function = in_step_function();
    const TriggerDesc* triggers = table->trigdesc;  // replaced whenever catalogs are looked into
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        if (trigger.tgfoid == function && has_our_arguments(trigger) && fits(trigger.tgargs)) {
            return in_step_trigger(trigger);
        }
    }
    return {};
}

bool has_column(Relation table, const char* name) {
    const TupleDesc shape = RelationGetDescr(table);
    for (int i = 0; i < shape->natts; ++i) {
        const auto* column = TupleDescAttr(shape, i);
        if (!column->attisdropped && strcmp(NameStr(column->attname), name) == 0) {
            return true;
        }
    }
    return false;
}

// Cut between characters where it is long, and then not that of another column.
const char* trigger_name(Oid relation, const char* column) {
    const char* name = makeObjectName("zzz_kms", column, nullptr);
    for (int number = 1; get_trigger_oid(relation, name, true) != InvalidOid; ++number) {
        name = makeObjectName("zzz_kms", column, psprintf("%d", number));
    }
    return name;
}

List* add_text(List* list, const char* text) {
    return lappend(list, makeString(pstrdup(text)));
}

void create_trigger(Oid relation, const InStepTrigger& trigger) {
    auto* statement = make_node<CreateTrigStmt>(T_CreateTrigStmt);
    statement->trigname = pstrdup(trigger.name);
    const Relation table = relation_open(relation, AccessShareLock);
    statement->relation =
        makeRangeVar(pstrdup(schema_name(table)), pstrdup(RelationGetRelationName(table)), -1);
    relation_close(table, NoLock);
    statement->funcname = add_text(add_text(NIL, "kms_internal"), "keep_in_step");
    statement->args = add_text(add_text(NIL, trigger.source), trigger.target);
    if (trigger.opens) {
        for (const char* text : {"open", trigger.opens_as.key, trigger.opens_as.context}) {
            statement->args = add_text(statement->args, text);
        }
    }
    statement->row = true;
    statement->timing = TRIGGER_TYPE_BEFORE;
    statement->events = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE;
    (void)CreateTrigger(statement, trigger.name, relation, InvalidOid, InvalidOid, InvalidOid,
                        in_step_function(), InvalidOid, nullptr, false, false);
    CommandCounterIncrement();
}

}  // namespace

bool is_opening(const Trigger& trigger) {
    return trigger.tgnargs == 5 && strcmp(trigger.tgargs[2], "open") == 0;
}

bool has_our_arguments(const Trigger& trigger) {
    return trigger.tgnargs == 2 || is_opening(trigger);
}

// By the catalog: callers have no USAGE of the schema.
Oid in_step_function() {
    const Oid schema = get_namespace_oid("kms_internal", false);
    const Oid function =
        GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("keep_in_step"),
                        PointerGetDatum(buildoidvector(nullptr, 0)), ObjectIdGetDatum(schema));
    if (function == InvalidOid) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
                        errmsg("there is no function kms_internal.keep_in_step()"),
                        errhint("Make the extension with CREATE EXTENSION kms.")));
    }
    return function;
}

InStepTrigger find_in_step_trigger(Relation table, const char* source) {
    return find_trigger(table, [&](char** names) { return strcmp(names[0], source) == 0; });
}

InStepTrigger find_in_step_trigger_into(Relation table, const char* target) {
    return find_trigger(table, [&](char** names) { return strcmp(names[1], target) == 0; });
}

InStepTrigger find_torn_trigger(Relation table) {
    return find_trigger(table, [&](char** names) {
        return !has_column(table, names[0]) || !has_column(table, names[1]);
    });
}

// A transaction of its own, in which nobody else's code runs and no table is locked: all whose
// tables get such a trigger for the first time change the same row.
void let_make_triggers(Oid relation) {
    const Oid owner = owner_of(relation);
    if (may_execute(owner, in_step_function())) {
        return;
    }
    LockDatabaseObject(ProcedureRelationId, in_step_function(), 0, ExclusiveLock);
    if (!may_execute(owner, in_step_function())) {
        const Caller caller = act_as_owner_of(registered_column_table());
        run_command(psprintf("GRANT EXECUTE ON FUNCTION kms_internal.keep_in_step() TO %s",
                             quote_identifier(GetUserNameFromId(owner, false))));
        act_as(caller);
    }
}

// By PostgreSQL's own function: nobody has USAGE of the schema of the trigger's.
void make_in_step_trigger(Oid relation, const InStepTrigger& trigger) {
    InStepTrigger named = trigger;
    named.name = trigger_name(relation, trigger.target);
    run_owners_code(owner_of(relation), [&] { create_trigger(relation, named); });
}

}  // namespace kms::pg
