#include "crypto/sealed.hpp"
#include "pg/columns/in_step_trigger.hpp"

#include <algorithm>

#include "pg/columns/registry.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/contexts/row_values.hpp"
#include "pg/pairs/lone_value.hpp"
#include "pg/rewriting/row_writer.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/subscriptions.hpp"
#include "pg/tables/table_column.hpp"
#include "pg/values/plain_input.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

// What the trigger needs for each row, made once a statement.
struct Prepared {
    bool is_registered;
    AttrNumber source;
    AttrNumber target;
    bool opens;
    ByteView identifier;  // empty where each row names its key
    RowValues values;     // of the source
    bool is_moving;
    RowValues values_before;  // with the context of before, while it is being moved
    PlainInput input;         // of the target, where it opens
    TupleTableSlot* row;
};

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
        require_at_hand(table, column->key_expression);
        prepared->values = prepare_row_values(
            table, prepared->source,
            {.context = column->context_expression, .key = column->key_expression});
        if (column->is_moving) {
            prepared->values_before =
                prepare_row_values(table, prepared->source,
                                   {.context = column->was.context_expression, .key = nullptr});
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

ByteView key_of(Prepared& prepared, HeapTuple tuple) {
    const auto key = key_of_row(prepared.values, row_of(prepared, tuple), prepared.identifier);
    if (!key) {
        raise_null("the row's key");
    }
    check_identifier(*key);
    return *key;
}

ByteView source_of(Prepared& prepared, HeapTuple tuple) {
    return bytes_of_row(prepared.values.value, row_of(prepared, tuple)).value_or(ByteView{});
}

// What else is written to the target would be another value than the source's.
bool is_written_by_run(const TriggerData* call, AttrNumber target) {
    bool is_null = false;
    const Datum value =
        heap_getattr(call->tg_newtuple, target, RelationGetDescr(call->tg_relation), &is_null);
    return !is_null && is_being_written(call->tg_relation, call->tg_trigtuple->t_self, value);
}

// Whether an update keeps what `of_row` makes of the row. Where there was nothing, what it is given
// now seals its value anew.
template <typename OfRow>
bool keeps(Prepared& prepared, const TriggerData* call, OfRow&& of_row) {
    const auto before = of_row(row_of(prepared, call->tg_trigtuple));
    const std::optional<ByteView> kept = before ? std::optional(copy_of(*before)) : std::nullopt;
    const auto after = of_row(row_of(prepared, call->tg_newtuple));
    return kept && after && std::ranges::equal(*kept, *after);
}

bool keeps_context(Prepared& prepared, const TriggerData* call, const RowValues& values) {
    return keeps(prepared, call, [&](TupleTableSlot* row) { return context_of_row(values, row); });
}

bool keeps_key(Prepared& prepared, const TriggerData* call) {
    return keeps(prepared, call, [&](TupleTableSlot* row) {
        return key_of_row(prepared.values, row, prepared.identifier);
    });
}

// Whether the target's value is the one of before, or has just been written by the run that fills
// the column. While it is moved, a value that was not yet is opened with the context of before.
bool is_in_step(Prepared& prepared, const TriggerData* call) {
    return TRIGGER_FIRED_BY_UPDATE(call->tg_event) && is_unchanged(call, prepared.source) &&
           (is_unchanged(call, prepared.target) || is_written_by_run(call, prepared.target)) &&
           keeps_context(prepared, call, prepared.values) && keeps_key(prepared, call) &&
           (!prepared.is_moving || keeps_context(prepared, call, prepared.values_before));
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
                       .identifier = key_of(prepared, tuple),
                       .replaces = tag_before(prepared, trigger)};
    varlena* result = nullptr;
    const Failure failure = prepared.opens ? open(call, &result) : seal(call, &result);
    if (failure) {
        raise(failure);
    }
    return prepared.opens ? value_of_bytes(prepared.input, bytes_in(result))
                          : PointerGetDatum(result);
}

// A subscription's row without the source, which the publisher has dropped, perhaps, and goes on
// with the target. Where it has not, and does not send a large value again, nothing is lost.
bool comes_without_source(const Prepared& prepared, const TriggerData* call) {
    const int source = prepared.source - FirstLowInvalidHeapAttributeNumber;
    return IsLogicalWorker() && TRIGGER_FIRED_BY_UPDATE(call->tg_event) &&
           is_unchanged(call, prepared.source) && !is_unchanged(call, prepared.target) &&
           !bms_is_member(source, call->tg_updatedcols);
}

// What was sealed anew is other bytes, and the same value.
bool opens_as_source(Prepared& prepared, const TriggerData* trigger, Datum sealed) {
    const Call call = {.action = "open a value with",
                       .local_id = 0,
                       .data = bytes_of_datum(sealed),
                       .context = context_of(prepared, trigger->tg_newtuple),
                       .identifier = key_of(prepared, trigger->tg_newtuple)};
    varlena* opened = nullptr;
    return !open(call, &opened) &&
           std::ranges::equal(bytes_in(opened), source_of(prepared, trigger->tg_newtuple));
}

bool has_sources_value(Prepared& prepared, const TriggerData* call) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    bool is_null = false;
    const Datum arrived = heap_getattr(call->tg_newtuple, prepared.target, shape, &is_null);
    return !is_null && (prepared.opens ? is_same_image(shape, prepared.target, arrived,
                                                       target_of(prepared, call, call->tg_newtuple))
                                       : opens_as_source(prepared, call, arrived));
}

// What has arrived would be overwritten by what the source had.
void require_sources_value(Prepared& prepared, const TriggerData* call) {
    if (comes_without_source(prepared, call) && !has_sources_value(prepared, call)) {
        const char* const* names = call->tg_trigger->tgargs;
        ereport(ERROR,
                (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                 errmsg("the publisher has written column \"%s\" of \"%s\", and not column \"%s\", "
                        "which it is made of here",
                        names[1], RelationGetRelationName(call->tg_relation), names[0]),
                 errhint("Where the publisher has dropped column \"%s\", drop it here too, with "
                         "kms.switch_column(); the subscription goes on then.",
                         names[0])));
    }
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

// Whoever writes the row may not know of it.
void tell_of_trigger(void* argument) {
    const auto& call = *static_cast<const TriggerData*>(argument);
    char** names = call.tg_trigger->tgargs;
    errcontext("trigger \"%s\" of \"%s\", which keeps column \"%s\" in step with column \"%s\"",
               call.tg_trigger->tgname, RelationGetRelationName(call.tg_relation), names[1],
               names[0]);
    if (is_opening(*call.tg_trigger) &&
        sqlstate::is_of_class(geterrcode(), {ERRCODE_DATA_EXCEPTION})) {
        errhint(
            "Where column \"%s\" is of a type that cannot hold all of the values: drop the "
            "trigger, and then the column, and CALL kms.decrypt_column() with another; text "
            "and bytea hold all.",
            names[1]);
    }
}

}  // namespace

KMS_FUNCTION(kms_keep_in_step) {
    const TriggerData* call = require_trigger(fcinfo);
    ErrorContextCallback told = {error_context_stack, tell_of_trigger,
                                 const_cast<TriggerData*>(call)};
    error_context_stack = &told;
    HeapTuple tuple =
        TRIGGER_FIRED_BY_UPDATE(call->tg_event) ? call->tg_newtuple : call->tg_trigtuple;
    Prepared& prepared = prepared_for(fcinfo, call);
    if (!prepared.is_registered) {
        require_whole(prepared, call);
    } else if (!is_left_to_run(prepared, call) && !is_in_step(prepared, call) &&
               !is_lone_value(call, prepared.source, prepared.target)) {
        require_sources_value(prepared, call);
        tuple = with_target(prepared, call, tuple);
    }
    error_context_stack = told.previous;
    PG_RETURN_POINTER(tuple);
}

}  // namespace kms::pg
