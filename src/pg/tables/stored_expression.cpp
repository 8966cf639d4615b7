#include "pg/tables/stored_expression.hpp"

#include <algorithm>
#include <cstdint>

namespace kms::pg {

bool is_in_expression(Node* expression, AttrNumber attribute) {
    Bitmapset* columns = nullptr;
    pull_varattnos(expression, 1, &columns);
    return bms_is_member(attribute - FirstLowInvalidHeapAttributeNumber, columns) ||
           bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns);
}

bool is_in_stored(CacheNumber catalog, HeapTuple row, AttrNumber stored, AttrNumber attribute) {
    bool is_null = true;
    const Datum node = SysCacheGetAttr(catalog, row, stored, &is_null);
    return !is_null &&
           is_in_expression(static_cast<Node*>(stringToNode(TextDatumGetCString(node))), attribute);
}

bool is_in_index(Relation index, AttrNumber attribute) {
    const Form_pg_index form = index->rd_index;
    const std::int16_t* columns = form->indkey.values;
    const auto is_in = [&](AttrNumber of_index) {
        return is_in_stored(INDEXRELID, index->rd_indextuple, of_index, attribute);
    };
    return std::count(columns, columns + form->indnkeyatts, attribute) != 0 ||
           is_in(Anum_pg_index_indexprs) || is_in(Anum_pg_index_indpred);
}

bool is_in_partition_key(Relation table, AttrNumber attribute) {
    HeapTuple row = SearchSysCache1(PARTRELID, ObjectIdGetDatum(RelationGetRelid(table)));
    if (!HeapTupleIsValid(row)) {
        return false;
    }
    const auto* key = reinterpret_cast<Form_pg_partitioned_table>(GETSTRUCT(row));
    const std::int16_t* columns = key->partattrs.values;
    const bool is_in = std::count(columns, columns + key->partnatts, attribute) != 0 ||
                       is_in_stored(PARTRELID, row, Anum_pg_partitioned_table_partexprs, attribute);
    ReleaseSysCache(row);
    return is_in;
}

}  // namespace kms::pg
