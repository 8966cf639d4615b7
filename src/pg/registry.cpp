#include "pg/registry.hpp"

#include <algorithm>

#include "pg/collected.hpp"

namespace kms::pg {
namespace {

enum Column : int {
    schema_column = 1,
    relation_column,
    name_column,
    key_identifier_column,
    context_column,
    broken_column,
    registered_column,
    was_key_column,
    was_context_column,
    is_moving_column
};

// Of kms.registered_place, behind the same names.
enum PlaceColumn : int { place_relation_column = 4, place_attribute_column };

const char* name_of(Datum name) {
    return pstrdup(NameStr(*DatumGetName(name)));
}

// Where a column is; all zeros: nowhere.
struct Place {
    Oid relation;
    AttrNumber attribute;

    bool operator==(const Place&) const = default;
};

bool is_table(Oid relation) {
    const char kind = get_rel_relkind(relation);
    return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

Place place_of_names(const RegisteredColumn& column) {
    const Oid schema = get_namespace_oid(column.schema_name, true);
    const Oid relation =
        schema != InvalidOid ? get_relname_relid(column.relation_name, schema) : InvalidOid;
    if (!is_table(relation)) {
        return {};
    }
    const AttrNumber attribute = get_attnum(relation, column.column_name);
    const Oid type = attribute > 0 ? get_atttype(relation, attribute) : InvalidOid;
    if (type == InvalidOid || getBaseType(type) != BYTEAOID) {
        return {};
    }
    return {relation, attribute};
}

void match_name(ScanKeyData& key, Column column, const char* name) {
    ScanKeyInit(&key, column, BTEqualStrategyNumber, F_NAMEEQ, name_datum(name));
}

struct NameKeys {
    ScanKeyData keys[3];
};

NameKeys match_names(const char* schema, const char* relation, const char* column) {
    NameKeys names;
    match_name(names.keys[0], schema_column, schema);
    match_name(names.keys[1], relation_column, relation);
    match_name(names.keys[2], name_column, column);
    return names;
}

// Calls visit(OwnRow) for the rows that the scan key matches, `keys` of its beginning, in order.
template <typename Visit>
void scan_by_names(Oid oid, ScanKeyData* key, int keys, Visit&& visit) {
    const Relation table = table_open(oid, AccessShareLock);
    const Relation index = index_open(primary_key_of(table), AccessShareLock);
    SysScanDesc scan = systable_beginscan_ordered(table, index, nullptr, keys, key);
    while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
        visit(OwnRow(table, tuple));
    }
    systable_endscan_ordered(scan);
    index_close(index, AccessShareLock);
    table_close(table, AccessShareLock);
}

// Nothing of a row that came while triggers were off.
Place noted_place(const RegisteredColumn& column) {
    NameKeys names = match_names(column.schema_name, column.relation_name, column.column_name);
    Place place = {};
    scan_by_names(own_table("registered_place"), names.keys, 3, [&](const OwnRow& row) {
        place = {DatumGetObjectId(row[place_relation_column]),
                 DatumGetInt16(row[place_attribute_column])};
    });
    return place;
}

// Another column may have the names now.
void find_by_names(RegisteredColumn& column) {
    const Place here = place_of_names(column);
    const Place noted = noted_place(column);
    if (noted == Place{} || noted == here) {
        column.relation = here.relation;
        column.attribute = here.attribute;
    }
}

const char* text_or_null(const OwnRow& row, Column column) {
    return row.has(column) ? TextDatumGetCString(row[column]) : nullptr;
}

SealedAs sealed_before(const OwnRow& row) {
    return {row.has(was_key_column) ? bytes_of_datum(row[was_key_column]) : ByteView{},
            text_or_null(row, was_context_column)};
}

RegisteredColumn column_of(const OwnRow& row) {
    RegisteredColumn column = {.relation = InvalidOid,
                               .attribute = InvalidAttrNumber,
                               .key_identifier = bytes_of_datum(row[key_identifier_column]),
                               .context_expression = text_or_null(row, context_column),
                               .broken = text_or_null(row, broken_column),
                               .schema_name = name_of(row[schema_column]),
                               .relation_name = name_of(row[relation_column]),
                               .column_name = name_of(row[name_column]),
                               .registered = DatumGetTimestampTz(row[registered_column]),
                               .was = sealed_before(row),
                               .is_moving = DatumGetBool(row[is_moving_column]),
                               .version = row.version()};
    find_by_names(column);
    return column;
}

// Those that the scan key matches, `keys` of its beginning.
std::span<const RegisteredColumn> read_columns(ScanKeyData* key, int keys) {
    Collected<RegisteredColumn> columns;
    scan_by_names(registered_column_table(), key, keys,
                  [&](const OwnRow& row) { columns.add(column_of(row)); });
    return columns.all();
}

const char* detail_of_fault(const RegisteredColumn& column, Oid type) {
    if (column.relation != InvalidOid) {
        return psprintf("Its context expression is broken: %s.", column.broken);
    }
    return getBaseType(type) != BYTEAOID ? psprintf("It is of type %s now.", format_type_be(type))
                                         : "Another column had the name when it was registered.";
}

// Names and rows are not read at one time: a rename may come in between.
void require_place(const RegisteredColumn& column, const Place& place) {
    if (column.relation != InvalidOid && Place{column.relation, column.attribute} != place) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("another column has become %s meanwhile", full_name(column)),
                        errhint("Call it again.")));
    }
}

}  // namespace

bool is_same(const SealedAs& one, const SealedAs& other) {
    return std::ranges::equal(one.key_identifier, other.key_identifier) &&
           std::string_view(one.context_expression != nullptr ? one.context_expression : "") ==
               (other.context_expression != nullptr ? other.context_expression : "");
}

bool is_same(const RegisteredColumn& one, const RegisteredColumn& other) {
    return is_same(one.now(), other.now()) && is_same(one.was, other.was) &&
           one.is_moving == other.is_moving;
}

const RegisteredColumn* find_registration(Oid relation, const char* column) {
    const char* schema = get_namespace_name(get_rel_namespace(relation));
    const char* table = get_rel_name(relation);
    if (schema == nullptr || table == nullptr) {
        return nullptr;
    }
    NameKeys names = match_names(schema, table, column);
    const std::span<const RegisteredColumn> found = read_columns(names.keys, 3);
    if (found.empty()) {
        return nullptr;
    }
    require_place(found.front(), {relation, get_attnum(relation, column)});
    return found.data();
}

const RegisteredColumn* find_registration(Oid relation, AttrNumber attribute) {
    const char* column = get_attname(relation, attribute, true);
    return column != nullptr ? find_registration(relation, column) : nullptr;
}

const RegisteredColumn* find_registered_column(Oid relation, AttrNumber attribute) {
    const RegisteredColumn* column = find_registration(relation, attribute);
    if (column != nullptr && (column->relation == InvalidOid || column->broken != nullptr)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("what is registered of %s does not hold any more", full_name(*column)),
                 errdetail("%s", detail_of_fault(*column, get_atttype(relation, attribute))),
                 errhint("Say anew what the column holds, with kms.unregister_column() and "
                         "kms.register_column().")));
    }
    return column;
}

std::span<const RegisteredColumn> registered_columns() {
    return read_columns(nullptr, 0);
}

// A command that was waited for may have made something else of what has been read.
std::span<const RegisteredColumn> locked_registered_columns() {
    std::span<const RegisteredColumn> columns;
    bool is_all_locked = false;
    while (!is_all_locked) {
        columns = registered_columns();
        is_all_locked = true;
        for (const RegisteredColumn& column : columns) {
            const bool is_locked =
                column.relation == InvalidOid ||
                CheckRelationOidLockedByMe(column.relation, AccessShareLock, true);
            if (!is_locked) {
                LockRelationOid(column.relation, AccessShareLock);
                is_all_locked = false;
            }
        }
    }
    return columns;
}

const char* full_name(const RegisteredColumn& column) {
    return psprintf("%s.%s", quote_qualified_identifier(column.schema_name, column.relation_name),
                    quote_identifier(column.column_name));
}

Oid registered_column_table() {
    return own_table("registered_column");
}

}  // namespace kms::pg
