#include "pg/census.hpp"

#include "pg/args.hpp"
#include "pg/owner.hpp"
#include "pg/registry.hpp"

namespace kms::pg {
namespace {

// They would be read with the rights that the extension's owner has elsewhere.
void refuse_foreign_tables(Oid relation) {
    ListCell* cell = nullptr;
    foreach (cell, find_all_inheritors(relation, AccessShareLock, nullptr)) {
        if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE) {
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("rows of the foreign table \"%s\" cannot be counted",
                                   get_rel_name(lfirst_oid(cell)))));
        }
    }
}

const char* query_over(Relation table, AttrNumber attribute) {
    const char* name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
                                                  RelationGetRelationName(table));
    return psprintf("SELECT kms.census_of(%s) FROM %s",
                    quote_identifier(get_attname(RelationGetRelid(table), attribute, false)), name);
}

// The planner evaluates expressions of the table's indexes, and so functions of its owner's: in the
// owner's name, and not in that of the extension's.
PlannedStmt* plan_as(Oid role, Query* query, const char* text) {
    Oid caller = InvalidOid;
    int security = 0;
    GetUserIdAndSecContext(&caller, &security);
    SetUserIdAndSecContext(role, security | SECURITY_RESTRICTED_OPERATION);
    PlannedStmt* plan = plan_for_workers(query, text);
    SetUserIdAndSecContext(caller, security);
    return plan;
}

// Its only row, kept in `store`.
Datum only_value(Tuplestorestate* store, TupleDesc shape) {
    TupleTableSlot* slot = MakeSingleTupleTableSlot(shape, &TTSOpsMinimalTuple);
    bool is_null = true;
    Datum value = 0;
    if (tuplestore_gettupleslot(store, true, false, slot)) {
        value = slot_getattr(slot, 1, &is_null);
    }
    if (!is_null) {
        value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
    }
    ExecDropSingleTupleTableSlot(slot);
    return is_null ? Datum{0} : value;
}

Datum execute(PlannedStmt* plan, const char* text) {
    Tuplestorestate* store = tuplestore_begin_heap(false, false, work_mem);
    DestReceiver* receiver = CreateTuplestoreDestReceiver();
    SetTuplestoreDestReceiverParams(receiver, store, CurrentMemoryContext, false, nullptr, nullptr);
    QueryDesc* query = CreateQueryDesc(plan, text, GetActiveSnapshot(), InvalidSnapshot, receiver,
                                       nullptr, nullptr, 0);
    ExecutorStart(query, 0);
    run(query);
    ExecutorFinish(query);
    const Datum value = only_value(store, query->tupDesc);
    ExecutorEnd(query);
    FreeQueryDesc(query);
    receiver->rDestroy(receiver);
    tuplestore_end(store);
    return value;
}

}  // namespace

std::span<const CensusEntry> take_census(Oid relation, AttrNumber attribute) {
    const Relation table = relation_open(relation, AccessShareLock);
    refuse_foreign_tables(relation);
    const char* text = query_over(table, attribute);
    const Caller caller = act_as_owner_of(registered_column_table());
    CommandCounterIncrement();
    PushActiveSnapshot(GetLatestSnapshot());
    PlannedStmt* plan = plan_as(table->rd_rel->relowner, analyze(text), text);
    const Datum packed = execute(plan, text);
    PopActiveSnapshot();
    act_as(caller);
    relation_close(table, AccessShareLock);
    return packed != 0 ? unpack_census(bytes_of_datum(packed)) : std::span<const CensusEntry>();
}

}  // namespace kms::pg
