// Rows of kms.registered_column and kms.registered_place, read by a snapshot. PostgreSQL side.
#pragma once

#include <span>

#include "pg/tables/own_table.hpp"

namespace kms::pg {

// Calls visit(OwnRow) for the rows that the keys match, of the index; without keys for all.
template <typename Visit>
void scan(Snapshot snapshot, const char* name, const char* index, std::span<ScanKeyData> keys,
          Visit&& visit) {
    const Relation table = table_open(own_table(name), AccessShareLock);
    SysScanDesc scan =
        systable_beginscan(table, keys.empty() ? InvalidOid : own_table(index), !keys.empty(),
                           snapshot, static_cast<int>(keys.size()), keys.data());
    while (HeapTuple tuple = systable_getnext(scan)) {
        visit(OwnRow(table, tuple));
    }
    systable_endscan(scan);
    table_close(table, AccessShareLock);
}

inline ScanKeyData match(int column, RegProcedure equal, Datum value) {
    ScanKeyData key;
    ScanKeyInit(&key, static_cast<AttrNumber>(column), BTEqualStrategyNumber, equal, value);
    return key;
}

inline ScanKeyData match_id(int column, const pg_uuid_t& id) {
    return match(column, F_UUID_EQ, UUIDPGetDatum(&id));
}

}  // namespace kms::pg
