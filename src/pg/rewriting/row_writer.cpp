#include "pg/rewriting/row_writer.hpp"

#include <algorithm>

#include "pg/tables/stored_expression.hpp"

namespace kms::pg {

struct RowWriter {
    Relation table;
    AttrNumber column;
    Oid domain;           // InvalidOid: its type is none
    void* domain_checks;  // what domain_check() keeps
    LockTupleMode lock;
    MemoryContext memory;
    EState* statement;
    ResultRelInfo* result;
    EPQState recheck;
    TupleTableSlot* before;
    TupleTableSlot* after;
};

namespace {

// What a writer of this session is about to replace, for triggers that it fires.
Oid written_table = InvalidOid;
ItemPointerData written_place;
Datum written_value;
AttrNumber written_column;

Bitmapset* set_of(AttrNumber column) {
    return bms_make_singleton(column - FirstLowInvalidHeapAttributeNumber);
}

// What the update of the column takes: the weaker one does not keep foreign keys to the row
// waiting.
LockTupleMode lock_for(Relation table, AttrNumber column) {
    const Bitmapset* keys = RelationGetIndexAttrBitmap(table, INDEX_ATTR_BITMAP_KEY);
    return bms_overlap(keys, set_of(column)) ? LockTupleExclusive : LockTupleNoKeyExclusive;
}

Oid domain_of(Relation table, AttrNumber column) {
    const Oid type = TupleDescAttr(RelationGetDescr(table), column - 1)->atttypid;
    return getBaseType(type) != type ? type : InvalidOid;
}

EState* make_statement(Relation table, AttrNumber column, ResultRelInfo** result) {
    EState* statement = CreateExecutorState();
    MemoryContext caller = MemoryContextSwitchTo(statement->es_query_cxt);
    statement->es_snapshot = GetActiveSnapshot();
    init_updated_table(statement, table, set_of(column));
    *result = make_node<ResultRelInfo>(T_ResultRelInfo);
    InitResultRelInfo(*result, table, 1, nullptr, 0);
    statement->es_opened_result_relations = lappend(statement->es_opened_result_relations, *result);
    ExecOpenIndices(*result, false);
    MemoryContextSwitchTo(caller);
    return statement;
}

// In the statement's own copy: what triggers, constraints and context expressions run meanwhile
// sees the session's own session_replication_role.
void fire_as_replica(TriggerDesc* triggers) {
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        char& enabled = triggers->triggers[i].tgenabled;
        if (enabled == TRIGGER_FIRES_ON_ORIGIN) {
            enabled = TRIGGER_DISABLED;
        } else if (enabled == TRIGGER_FIRES_ON_REPLICA) {
            enabled = TRIGGER_FIRES_ALWAYS;
        }
    }
}

bool lock_unchanged(RowWriter& writer, RowVersion version) {
    TM_FailureData failure;
    return table_tuple_lock(writer.table, &version.place, writer.statement->es_snapshot,
                            writer.before, GetCurrentCommandId(true), writer.lock, LockWaitSkip, 0,
                            &failure) == TM_Ok &&
           version_of(writer.before).writer == version.writer;
}

// Of a dropped column nothing is written again, as with any UPDATE.
void forget_dropped(RowWriter& writer) {
    const TupleDesc shape = RelationGetDescr(writer.table);
    for (int i = 0; i < shape->natts; ++i) {
        if (TupleDescAttr(shape, i)->attisdropped) {
            writer.after->tts_isnull[i] = true;
        }
    }
}

void store_after(RowWriter& writer, Datum value) {
    const auto count = static_cast<std::size_t>(RelationGetDescr(writer.table)->natts);
    slot_getallattrs(writer.before);
    ExecClearTuple(writer.after);
    std::copy_n(writer.before->tts_values, count, writer.after->tts_values);
    std::copy_n(writer.before->tts_isnull, count, writer.after->tts_isnull);
    writer.after->tts_values[writer.column - 1] = value;
    writer.after->tts_isnull[writer.column - 1] = false;
    forget_dropped(writer);
    ExecStoreVirtualTuple(writer.after);
    writer.after->tts_tableOid = RelationGetRelid(writer.table);
}

bool is_same_in(TupleTableSlot* before, TupleTableSlot* after, int column) {
    bool was_null = false;
    bool is_null = false;
    const Datum was = slot_getattr(before, column, &was_null);
    const Datum is = slot_getattr(after, column, &is_null);
    return was_null == is_null &&
           (is_null || is_same_image(before->tts_tupleDescriptor, column, was, is));
}

void update(RowWriter& writer) {
    written_table = RelationGetRelid(writer.table);
    written_place = writer.before->tts_tid;
    written_column = writer.column;
    written_value = writer.after->tts_values[writer.column - 1];
    PG_TRY();
    {
        ExecSimpleRelationUpdate(writer.result, writer.statement, &writer.recheck, writer.before,
                                 writer.after);
    }
    PG_FINALLY();
    { written_table = InvalidOid; }
    PG_END_TRY();
}

}  // namespace

RowVersion version_of(TupleTableSlot* row) {
    bool is_null = false;
    const Datum writer = slot_getsysattr(row, MinTransactionIdAttributeNumber, &is_null);
    return {row->tts_tid, DatumGetTransactionId(writer)};
}

bool is_same_image(TupleDesc shape, int column, Datum one, Datum other) {
    const auto* type = TupleDescAttr(shape, column - 1);
    return datum_image_eq(one, other, type->attbyval, type->attlen);
}

bool is_being_written(Relation table, const ItemPointerData& place, Datum value) {
    return RelationGetRelid(table) == written_table &&
           ItemPointerEquals(const_cast<ItemPointer>(&place), &written_place) &&
           is_same_image(RelationGetDescr(table), written_column, value, written_value);
}

bool may_wait_for_others(Relation table, AttrNumber column) {
    const List* indexes = RelationGetIndexList(table);
    bool may_wait = false;
    for (int i = 0; i < list_length(indexes); ++i) {
        const Relation index = index_open(list_nth_oid(indexes, i), AccessShareLock);
        const Form_pg_index form = index->rd_index;
        may_wait |= (form->indisunique || form->indisexclusion) &&
                    (is_in_index(index, column) || !form->indimmediate);
        index_close(index, AccessShareLock);
    }
    return may_wait;
}

RowWriter* open_row_writer(Relation table, AttrNumber column, bool as_replica) {
    auto* writer = static_cast<RowWriter*>(palloc0(sizeof(RowWriter)));
    writer->table = table;
    writer->column = column;
    writer->domain = domain_of(table, column);
    writer->lock = lock_for(table, column);
    writer->memory = CurrentMemoryContext;
    writer->statement = make_statement(table, column, &writer->result);
    if (as_replica) {
        fire_as_replica(writer->result->ri_TrigDesc);
    }
    init_recheck(&writer->recheck, writer->statement);
    writer->before = table_slot_create(table, nullptr);
    writer->after = MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsVirtual);
    AfterTriggerBeginQuery();
    ExecBSUpdateTriggers(writer->statement, writer->result);
    return writer;
}

Written write_row(RowWriter& writer, const RowVersion& version, Datum value) {
    if (writer.domain != InvalidOid) {
        domain_check(value, false, writer.domain, &writer.domain_checks, writer.memory);
    }
    if (!lock_unchanged(writer, version)) {
        return Written::passed_over;
    }
    store_after(writer, value);
    ItemPointerSetInvalid(&writer.after->tts_tid);
    update(writer);
    const bool is_written = ItemPointerIsValid(&writer.after->tts_tid);
    ResetPerTupleExprContext(writer.statement);
    return is_written ? Written::done : Written::kept_by_trigger;
}

TupleTableSlot* row_after_triggers(RowWriter& writer) {
    const TriggerDesc* triggers = writer.result->ri_TrigDesc;
    return triggers != nullptr && triggers->trig_update_before_row ? writer.after : nullptr;
}

ItemPointerData place_of_written(const RowWriter& writer) {
    return writer.after->tts_tid;
}

bool are_still_there(Relation table, std::span<const ItemPointerData> places) {
    const TriggerDesc* triggers = table->trigdesc;
    if (triggers == nullptr ||
        !(triggers->trig_update_after_row || triggers->trig_update_after_statement)) {
        return true;
    }
    TupleTableSlot* row = table_slot_create(table, nullptr);
    const bool are_there = std::ranges::all_of(places, [&](ItemPointerData place) {
        return table_tuple_fetch_row_version(table, &place, SnapshotSelf, row);
    });
    ExecDropSingleTupleTableSlot(row);
    return are_there;
}

bool have_triggers_changed(RowWriter& writer, const Bitmapset* columns) {
    int column = -1;
    while ((column = bms_next_member(columns, column)) >= 0) {
        if (!is_same_in(writer.before, writer.after, column)) {
            return true;
        }
    }
    return false;
}

void close_row_writer(RowWriter* writer) {
    ExecASUpdateTriggers(writer->statement, writer->result, nullptr);
    AfterTriggerEndQuery(writer->statement);
    EvalPlanQualEnd(&writer->recheck);
    ExecDropSingleTupleTableSlot(writer->before);
    ExecDropSingleTupleTableSlot(writer->after);
    ExecResetTupleTable(writer->statement->es_tupleTable, false);
    ExecCloseResultRelations(writer->statement);
    FreeExecutorState(writer->statement);
    pfree(writer);
}

}  // namespace kms::pg
