#include "pg/in_step.hpp"

#include <algorithm>

#include "pg/context_expression.hpp"
#include "pg/inheritance.hpp"
#include "pg/lone_value.hpp"
#include "pg/owner.hpp"
#include "pg/plain_input.hpp"
#include "pg/registry.hpp"
#include "pg/row_values.hpp"
#include "pg/row_writer.hpp"
#include "pg/subscriptions.hpp"
#include "pg/table_column.hpp"

namespace kms::pg {
namespace {

// What the trigger needs for each row, made once a statement.
struct Prepared {
    bool is_registered;
    AttrNumber source;
    AttrNumber target;
    bool opens;
    ByteView identifier;
    RowValues values;  // of the source
    bool is_moving;
    RowValues values_before;  // with the context of before, while it is being moved
    PlainInput input;         // of the target, where it opens
    TupleTableSlot* row;
};

bool is_opening(const Trigger& trigger) {
    return trigger.tgnargs == 5 && strcmp(trigger.tgargs[2], "open") == 0;
}

bool has_our_arguments(const Trigger& trigger) {
    return trigger.tgnargs == 2 || is_opening(trigger);
}

const TriggerData* require_trigger(FunctionCallInfo fcinfo) {
    const auto* call = reinterpret_cast<const TriggerData*>(fcinfo->context);
    if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(call->tg_event) ||
        !TRIGGER_FIRED_FOR_ROW(call->tg_event) || TRIGGER_FIRED_BY_DELETE(call->tg_event) ||
        !has_our_arguments(*call->tg_trigger)) {
        ereport(ERROR,
                (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                 errmsg("kms_internal.keep_in_step is a trigger's function, before each row is "
                        "inserted or updated"),
                 errhint("kms.encrypt_column and kms.decrypt_column make the trigger.")));
    }
    return call;
}

AttrNumber require_column(const TriggerData* call, const char* name) {
    const Relation table = call->tg_relation;
    const AttrNumber attribute = get_attnum(RelationGetRelid(table), name);
    if (attribute <= 0) {
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_COLUMN),
                 errmsg("table \"%s\" has no column \"%s\" that could be kept in step",
                        RelationGetRelationName(table), name),
                 errhint("Where it was renamed, name it \"%s\" again until kms.switch_column() is "
                         "done; where it was dropped, drop trigger \"%s\".",
                         name, call->tg_trigger->tgname)));
    }
    return attribute;
}

// What the table is a partition of is registered, or it itself. A partition may have been
// registered before it was attached. One that is being detached is one until that is done.
const RegisteredColumn* registration_of(Relation table, const char* name) {
    const Oid oid = RelationGetRelid(table);
    const List* ancestors =
        table->rd_rel->relispartition ? find_all_ancestors(oid) : static_cast<List*>(NIL);
    const RegisteredColumn* found = nullptr;
    for (int i = list_length(ancestors) - 1; found == nullptr && i >= 0; --i) {
        const Oid ancestor = list_nth_oid(ancestors, i);
        found = find_registered_column(ancestor, get_attnum(ancestor, name));
    }
    return found != nullptr ? found : find_registered_column(oid, get_attnum(oid, name));
}

Prepared* prepare(const TriggerData* call) {
    const Relation table = call->tg_relation;
    const bool opens = is_opening(*call->tg_trigger);
    char** names = call->tg_trigger->tgargs;
    const RegisteredColumn* column = registration_of(table, names[opens ? 0 : 1]);
    auto* prepared = static_cast<Prepared*>(palloc0(sizeof(Prepared)));
    prepared->source = require_column(call, names[0]);
    prepared->target = require_column(call, names[1]);
    prepared->opens = opens;
    require_bytea(table, opens ? prepared->source : prepared->target);
    require_findable_rows(table, prepared->target);
    prepared->is_registered = column != nullptr;
    if (column == nullptr) {
        return prepared;
    }
    if (opens) {
        require_opens_as({names[3], names[4]}, *column);
    }
    prepared->identifier = column->key_identifier;
    prepared->is_moving = column->is_moving;
    // As with CHECKs and DEFAULTs, whoever writes runs it: in another's name the objects of the
    // writer's pg_temp would run, which functions may come upon.
    run_owners_code(GetUserId(), [&] {
        require_at_hand(table, column->context_expression);
        prepared->values = prepare_row_values(table, prepared->source, column->context_expression);
        if (column->is_moving) {
            prepared->values_before =
                prepare_row_values(table, prepared->source, column->was.context_expression);
        }
        if (opens) {
            prepared->input = prepare_input(table, prepared->target);
        }
    });
    prepared->row = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(table)),
                                             &TTSOpsHeapTuple);
    return prepared;
}

Prepared& prepared_for(FunctionCallInfo fcinfo, const TriggerData* call) {
    FmgrInfo* function = fcinfo->flinfo;
    if (function->fn_extra == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(function->fn_mcxt);
        function->fn_extra = prepare(call);
        MemoryContextSwitchTo(caller);
    }
    return *static_cast<Prepared*>(function->fn_extra);
}

// The tuple, until the next.
TupleTableSlot* row_of(Prepared& prepared, HeapTuple tuple) {
    return ExecStoreHeapTuple(tuple, prepared.row, false);
}

ByteView context_of(Prepared& prepared, HeapTuple tuple) {
    const auto context = context_of_row(prepared.values, row_of(prepared, tuple));
    if (!context) {
        raise_null("the row's context");
    }
    return *context;
}

ByteView source_of(Prepared& prepared, HeapTuple tuple) {
    return bytes_of_row(prepared.values, row_of(prepared, tuple)).value_or(ByteView{});
}

// What else is written to the target would be another value than the source's.
bool is_written_by_run(const TriggerData* call, AttrNumber target) {
    bool is_null = false;
    const Datum value =
        heap_getattr(call->tg_newtuple, target, RelationGetDescr(call->tg_relation), &is_null);
    return !is_null && is_being_written(call->tg_relation, call->tg_trigtuple->t_self, value);
}

// While the column is moved, a value that was not yet is opened with the context of before.
bool keeps_context_before(Prepared& prepared, const TriggerData* call) {
    const auto before =
        context_of_row(prepared.values_before, row_of(prepared, call->tg_trigtuple));
    const std::optional<ByteView> kept = before ? std::optional(copy_of(*before)) : std::nullopt;
    const auto after = context_of_row(prepared.values_before, row_of(prepared, call->tg_newtuple));
    return kept && after && std::ranges::equal(*kept, *after);
}

// Whether the target's value is the one of before, or has just been written by the run that fills
// the column.
bool is_in_step(Prepared& prepared, const TriggerData* call) {
    return TRIGGER_FIRED_BY_UPDATE(call->tg_event) && is_unchanged(call, prepared.source) &&
           (is_unchanged(call, prepared.target) || is_written_by_run(call, prepared.target)) &&
           std::ranges::equal(context_of(prepared, call->tg_trigtuple),
                              context_of(prepared, call->tg_newtuple)) &&
           (!prepared.is_moving || keeps_context_before(prepared, call));
}

// A row that is not filled yet, and whose source stays: the run fills it. Whoever updates other
// columns needs no key for it, nor does a value that cannot be sealed or opened keep him from it.
bool is_left_to_run(const Prepared& prepared, const TriggerData* call) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    return TRIGGER_FIRED_BY_UPDATE(call->tg_event) && is_unchanged(call, prepared.source) &&
           heap_attisnull(call->tg_trigtuple, prepared.target, shape) &&
           heap_attisnull(call->tg_newtuple, prepared.target, shape);
}

// A restore in parts may bring the rows before the registration. Such a row has both values, and
// the switch compares them.
void require_whole(const Prepared& prepared, const TriggerData* call) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    const char* const* names = call->tg_trigger->tgargs;
    if (TRIGGER_FIRED_BY_UPDATE(call->tg_event) ||
        heap_attisnull(call->tg_trigtuple, prepared.source, shape) !=
            heap_attisnull(call->tg_trigtuple, prepared.target, shape)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("column \"%s\" of \"%s\" is not registered", names[prepared.opens ? 0 : 1],
                        RelationGetRelationName(call->tg_relation)),
                 errhint("Restore the data of schema kms first, or say with "
                         "kms.register_column() which key and context it has.")));
    }
}

// What is stored apart may be large, and is not read for the sake of its header.
ByteView beginning_of(Datum sealed) {
    constexpr std::int32_t enough = 64;  // the shortest value of any suite
    return bytes_of_packed(
        reinterpret_cast<const varlena*>(PG_DETOAST_DATUM_SLICE(sealed, 0, enough)));
}

// Of the version that the row's sealed value is under, which another does not go behind.
std::optional<KeyTag> tag_before(const Prepared& prepared, const TriggerData* call) {
    bool is_null = true;
    const Datum before = TRIGGER_FIRED_BY_UPDATE(call->tg_event)
                             ? heap_getattr(call->tg_trigtuple, prepared.target,
                                            RelationGetDescr(call->tg_relation), &is_null)
                             : Datum{0};
    const auto header =
        is_null || prepared.opens ? std::nullopt : read_sealed_header(beginning_of(before));
    return header ? std::optional(header->tag) : std::nullopt;
}

// Sealed or opened.
Datum target_of(Prepared& prepared, const TriggerData* trigger, HeapTuple tuple) {
    const Call call = {.action = prepared.opens ? "decrypt a value with" : "encrypt a value with",
                       .local_id = 0,
                       .data = source_of(prepared, tuple),
                       .context = context_of(prepared, tuple),
                       .identifier = prepared.identifier,
                       .replaces = tag_before(prepared, trigger)};
    varlena* result = nullptr;
    const Failure failure = prepared.opens ? open(call, &result) : seal(call, &result);
    if (failure) {
        raise(failure);
    }
    return prepared.opens ? value_of_bytes(prepared.input, bytes_in(result))
                          : PointerGetDatum(result);
}

HeapTuple with_target(Prepared& prepared, const TriggerData* call, HeapTuple tuple) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    int column = prepared.target;
    bool is_null = heap_attisnull(tuple, prepared.source, shape);
    if (prepared.opens && !is_null) {
        require_writer_may_open(RelationGetRelationName(call->tg_relation),
                                call->tg_trigger->tgargs[0]);
    }
    Datum value = is_null ? Datum{0} : target_of(prepared, call, tuple);
    return heap_modify_tuple_by_cols(tuple, shape, 1, &column, &value, &is_null);
}

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
    commit_batch();
    begin_batch();
}

// By PostgreSQL's own function: nobody has USAGE of the schema of the trigger's.
void make_in_step_trigger(Oid relation, const InStepTrigger& trigger) {
    InStepTrigger named = trigger;
    named.name = trigger_name(relation, trigger.target);
    run_owners_code(owner_of(relation), [&] { create_trigger(relation, named); });
}

KMS_FUNCTION(kms_keep_in_step) {
    const TriggerData* call = require_trigger(fcinfo);
    HeapTuple tuple =
        TRIGGER_FIRED_BY_UPDATE(call->tg_event) ? call->tg_newtuple : call->tg_trigtuple;
    Prepared& prepared = prepared_for(fcinfo, call);
    if (!prepared.is_registered) {
        require_whole(prepared, call);
    } else if (!is_left_to_run(prepared, call) && !is_in_step(prepared, call) &&
               !is_lone_value(call, prepared.source, prepared.target)) {
        tuple = with_target(prepared, call, tuple);
    }
    PG_RETURN_POINTER(tuple);
}

}  // namespace kms::pg
