#include "pg/tables/subscriptions.hpp"

#include "pg/tables/stored_expression.hpp"

namespace kms::pg {

Oid subscription_to(Oid table) {
    const Relation subscribed = table_open(SubscriptionRelRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_subscription_rel_srrelid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(table));
    SysScanDesc scan = systable_beginscan(subscribed, SubscriptionRelSrrelidSrsubidIndexId, true,
                                          nullptr, 1, &key);
    const HeapTuple tuple = systable_getnext(scan);
    const Oid subscription =
        HeapTupleIsValid(tuple)
            ? reinterpret_cast<Form_pg_subscription_rel>(GETSTRUCT(tuple))->srsubid
            : InvalidOid;
    systable_endscan(scan);
    table_close(subscribed, AccessShareLock);
    return subscription;
}

bool is_identified_without(Relation table, AttrNumber column) {
    (void)RelationGetIndexList(table);
    const Oid key = OidIsValid(table->rd_replidindex) ? table->rd_replidindex : table->rd_pkindex;
    if (!OidIsValid(key)) {
        return false;
    }
    const Relation index = index_open(key, AccessShareLock);
    const bool is_without = !is_in_index(index, column);
    index_close(index, AccessShareLock);
    return is_without;
}

void require_findable_rows(Relation table, AttrNumber column) {
    if (IsLogicalWorker() && !is_identified_without(table, column)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("\"%s\" has no key without column \"%s\", which its rows could be "
                               "found by",
                               RelationGetRelationName(table),
                               get_attname(RelationGetRelid(table), column, false)),
                        errdetail("UPDATEs and DELETEs of the publisher would be lost here."),
                        errhint("Make a PRIMARY KEY here, or REPLICA IDENTITY USING INDEX, over "
                                "other columns.")));
    }
}

const char* shown_subscription(Oid subscription) {
    const char* name = get_subscription_name(subscription, true);
    return name != nullptr ? name : "(dropped)";
}

}  // namespace kms::pg
