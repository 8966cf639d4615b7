#include "pg/subscriptions.hpp"

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

const char* shown_subscription(Oid subscription) {
    const char* name = get_subscription_name(subscription, true);
    return name != nullptr ? name : "(dropped)";
}

}  // namespace kms::pg
