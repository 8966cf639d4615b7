#include "pg/tables/elsewhere.hpp"

namespace kms::pg {
namespace {

bool is_listed(Relation list, AttrNumber column, Oid table) {
    ScanKeyData key;
    ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
    SysScanDesc scan = systable_beginscan(list, InvalidOid, false, nullptr, 1, &key);
    const bool is_found = HeapTupleIsValid(systable_getnext(scan));
    systable_endscan(scan);
    return is_found;
}

// By Citus, whose shards are other tables, on this server or on others.
bool is_distributed(Oid table) {
    const Oid oid = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
    const AttrNumber column = OidIsValid(oid) ? get_attnum(oid, "logicalrelid") : 0;
    if (column <= 0 || get_atttype(oid, column) != REGCLASSOID) {
        return false;
    }
    const Relation list = table_open(oid, AccessShareLock);
    const bool is_found = is_listed(list, column, table);
    table_close(list, AccessShareLock);
    return is_found;
}

}  // namespace

const char* why_elsewhere(Oid table) {
    if (get_rel_relkind(table) == RELKIND_FOREIGN_TABLE) {
        return "is a foreign table";
    }
    return is_distributed(table) ? "is distributed by Citus" : nullptr;
}

}  // namespace kms::pg
