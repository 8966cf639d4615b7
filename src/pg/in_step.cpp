#include "pg/in_step.hpp"

#include <algorithm>

#include "pg/registry.hpp"
#include "pg/row_values.hpp"
#include "pg/table_column.hpp"

namespace kms::pg {
namespace {

constexpr const char* action = "encrypt a value with";

// What the trigger needs for each row, made once a statement.
struct Prepared {
    AttrNumber plain;
    AttrNumber encrypted;
    ByteView identifier;
    RowValues values;
    TupleTableSlot* row;
};

const TriggerData* require_trigger(FunctionCallInfo fcinfo) {
    const auto* call = reinterpret_cast<const TriggerData*>(fcinfo->context);
    if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(call->tg_event) ||
        !TRIGGER_FIRED_FOR_ROW(call->tg_event) || TRIGGER_FIRED_BY_DELETE(call->tg_event) ||
        call->tg_trigger->tgnargs != 2) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("kms.keep_in_step is a trigger's function, before each row is "
                               "inserted or updated"),
                        errhint("kms.encrypt_column makes the trigger.")));
    }
    return call;
}

AttrNumber require_column(Relation table, const char* name) {
    const AttrNumber attribute = get_attnum(RelationGetRelid(table), name);
    if (attribute <= 0) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("table \"%s\" has no column \"%s\" that could be kept in step",
                               RelationGetRelationName(table), name),
                        errhint("The columns are renamed when kms.switch_column is done.")));
    }
    return attribute;
}

// The table itself is registered, or what it is a partition of.
const RegisteredColumn* registration_of(Relation table, const char* name) {
    const Oid oid = RelationGetRelid(table);
    const RegisteredColumn* found = find_registered_column(oid, get_attnum(oid, name));
    const List* ancestors =
        table->rd_rel->relispartition ? get_partition_ancestors(oid) : static_cast<List*>(NIL);
    for (int i = 0; found == nullptr && i < list_length(ancestors); ++i) {
        const Oid ancestor = list_nth_oid(ancestors, i);
        found = find_registered_column(ancestor, get_attnum(ancestor, name));
    }
    if (found == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is not registered", name,
                               RelationGetRelationName(table)),
                        errhint("Say which key it has with kms.register_column().")));
    }
    return found;
}

Prepared* prepare(const TriggerData* call) {
    const Relation table = call->tg_relation;
    char** names = call->tg_trigger->tgargs;
    const RegisteredColumn* column = registration_of(table, names[1]);
    auto* prepared = static_cast<Prepared*>(palloc0(sizeof(Prepared)));
    prepared->plain = require_column(table, names[0]);
    prepared->encrypted = require_column(table, names[1]);
    require_bytea(table, prepared->encrypted);
    prepared->identifier = column->key_identifier;
    prepared->values = prepare_row_values(table, prepared->plain, column->context_expression);
    prepared->row =
        MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(table)), &TTSOpsHeapTuple);
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

ByteView plaintext_of(Prepared& prepared, HeapTuple tuple) {
    TupleTableSlot* row = row_of(prepared, tuple);
    if (!prepared.values.text_depends) {
        return bytes_of_row(prepared.values, row).value_or(ByteView{});
    }
    const int level = NewGUCNestLevel();
    fix_text_settings(GUC_ACTION_SAVE);
    const ByteView bytes = bytes_of_row(prepared.values, row).value_or(ByteView{});
    AtEOXact_GUC(false, level);
    return bytes;
}

// Whether the encrypted value is the one of before, or has just been written by the run that fills
// the column.
bool is_in_step(Prepared& prepared, const TriggerData* call) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    if (!TRIGGER_FIRED_BY_UPDATE(call->tg_event) ||
        heap_attisnull(call->tg_newtuple, prepared.encrypted, shape) ||
        heap_attisnull(call->tg_newtuple, prepared.plain, shape) ||
        heap_attisnull(call->tg_trigtuple, prepared.plain, shape)) {
        return false;
    }
    const auto* column = TupleDescAttr(shape, prepared.plain - 1);
    bool is_null = false;
    const Datum before = heap_getattr(call->tg_trigtuple, prepared.plain, shape, &is_null);
    const Datum after = heap_getattr(call->tg_newtuple, prepared.plain, shape, &is_null);
    return datumIsEqual(before, after, column->attbyval, column->attlen) &&
           std::ranges::equal(context_of(prepared, call->tg_trigtuple),
                              context_of(prepared, call->tg_newtuple));
}

HeapTuple with_encrypted(Prepared& prepared, const TriggerData* call, HeapTuple tuple) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    int column = prepared.encrypted;
    bool is_null = heap_attisnull(tuple, prepared.plain, shape);
    varlena* sealed = nullptr;
    if (!is_null) {
        const Failure failure = seal({action, 0, plaintext_of(prepared, tuple),
                                      context_of(prepared, tuple), prepared.identifier},
                                     &sealed);
        if (failure) {
            raise(failure);
        }
    }
    Datum value = PointerGetDatum(sealed);
    return heap_modify_tuple_by_cols(tuple, shape, 1, &column, &value, &is_null);
}

}  // namespace

Oid in_step_function() {
    return DatumGetObjectId(DirectFunctionCall1(regprocin, CStringGetDatum("kms.keep_in_step")));
}

InStepTrigger find_in_step_trigger(Relation table, const char* plain) {
    const TriggerDesc* triggers = table->trigdesc;
    const Oid function = in_step_function();
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        if (trigger.tgfoid == function && trigger.tgnargs == 2 &&
            strcmp(trigger.tgargs[0], plain) == 0) {
            return {pstrdup(trigger.tgname), pstrdup(plain), pstrdup(trigger.tgargs[1])};
        }
    }
    return {nullptr, nullptr, nullptr};
}

const char* cast_to_bytes(Oid type) {
    return getBaseType(type) == BYTEAOID ? "" : "::text";
}

void require_own_table(const char* procedure, Oid relation) {
    const Relation table = relation_open(relation, AccessShareLock);
    const FormData_pg_class& kind = *table->rd_rel;
    if (!owns_table(relation, GetUserId())) {
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(table));
    }
    const bool is_plain = kind.relkind == RELKIND_RELATION &&
                          list_length(find_all_inheritors(relation, NoLock, nullptr)) == 1;
    if ((!is_plain && kind.relkind != RELKIND_PARTITIONED_TABLE) || has_superclass(relation) ||
        IsSystemRelation(table)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("%s takes ordinary and partitioned tables, and \"%s\" is none",
                               procedure, RelationGetRelationName(table)),
                        errdetail("Partitions go with their root; tables that inherit, or from "
                                  "which others inherit, are not taken.")));
    }
    relation_close(table, NoLock);
}

KMS_FUNCTION(kms_keep_in_step) {
    const TriggerData* call = require_trigger(fcinfo);
    HeapTuple tuple =
        TRIGGER_FIRED_BY_UPDATE(call->tg_event) ? call->tg_newtuple : call->tg_trigtuple;
    Prepared& prepared = prepared_for(fcinfo, call);
    if (!is_in_step(prepared, call)) {
        tuple = with_encrypted(prepared, call, tuple);
    }
    PG_RETURN_POINTER(tuple);
}

}  // namespace kms::pg
