#include "pg/registry.hpp"

#include "pg/collected.hpp"
#include "pg/own_table.hpp"

namespace kms::pg {
namespace {

enum Column : int {
    schema_column = 1,
    relation_column,
    name_column,
    relation_oid_column,
    attribute_column,
    key_identifier_column,
    context_column,
    registered_column,
    was_key_column,
    was_context_column,
    is_moving_column
};

const char* name_of(Datum name) {
    return pstrdup(NameStr(*DatumGetName(name)));
}

bool is_table(Oid relation) {
    const char kind = get_rel_relkind(relation);
    return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

void find_by_names(RegisteredColumn& column) {
    const Oid schema = get_namespace_oid(column.schema_name, true);
    const Oid relation =
        schema != InvalidOid ? get_relname_relid(column.relation_name, schema) : InvalidOid;
    if (!is_table(relation)) {
        return;
    }
    const AttrNumber attribute = get_attnum(relation, column.column_name);
    if (attribute > 0 && getBaseType(get_atttype(relation, attribute)) == BYTEAOID) {
        column.relation = relation;
        column.attribute = attribute;
    }
}

const char* expression_of(const OwnRow& row, Column column) {
    return row.has(column) ? TextDatumGetCString(row[column]) : nullptr;
}

SealedAs sealed_before(const OwnRow& row) {
    return {row.has(was_key_column) ? bytes_of_datum(row[was_key_column]) : ByteView{},
            expression_of(row, was_context_column)};
}

RegisteredColumn column_of(const OwnRow& row) {
    RegisteredColumn column = {.relation = InvalidOid,
                               .attribute = InvalidAttrNumber,
                               .key_identifier = bytes_of_datum(row[key_identifier_column]),
                               .context_expression = expression_of(row, context_column),
                               .schema_name = name_of(row[schema_column]),
                               .relation_name = name_of(row[relation_column]),
                               .column_name = name_of(row[name_column]),
                               .registered = DatumGetTimestampTz(row[registered_column]),
                               .was = sealed_before(row),
                               .is_moving = DatumGetBool(row[is_moving_column])};
    find_by_names(column);
    return column;
}

// Those that the scan key matches, `keys` of its beginning.
std::span<const RegisteredColumn> read_columns(ScanKeyData* key, int keys) {
    const Relation table = table_open(registered_column_table(), AccessShareLock);
    const Relation index = index_open(primary_key_of(table), AccessShareLock);
    SysScanDesc scan = systable_beginscan_ordered(table, index, nullptr, keys, key);
    Collected<RegisteredColumn> columns;
    while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
        columns.add(column_of(OwnRow(table, tuple)));
    }
    systable_endscan_ordered(scan);
    index_close(index, AccessShareLock);
    table_close(table, AccessShareLock);
    return columns.all();
}

void match_name(ScanKeyData& key, Column column, const char* name) {
    ScanKeyInit(&key, column, BTEqualStrategyNumber, F_NAMEEQ, name_datum(name));
}

}  // namespace

const RegisteredColumn* find_registered_column(Oid relation, AttrNumber attribute) {
    const char* column = get_attname(relation, attribute, true);
    if (column == nullptr) {
        return nullptr;
    }
    ScanKeyData key[3];
    match_name(key[0], schema_column, get_namespace_name(get_rel_namespace(relation)));
    match_name(key[1], relation_column, get_rel_name(relation));
    match_name(key[2], name_column, column);
    const std::span<const RegisteredColumn> found = read_columns(key, 3);
    return found.empty() ? nullptr : found.data();
}

std::span<const RegisteredColumn> registered_columns() {
    return read_columns(nullptr, 0);
}

const char* full_name(const RegisteredColumn& column) {
    return psprintf("%s.%s", quote_qualified_identifier(column.schema_name, column.relation_name),
                    quote_identifier(column.column_name));
}

Oid registered_column_table() {
    return own_table("registered_column");
}

}  // namespace kms::pg
