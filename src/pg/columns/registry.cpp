#include "pg/columns/registry.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "pg/columns/registered_place.hpp"
#include "pg/columns/registry_rows.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/tables/inheritance.hpp"

namespace kms::pg {
namespace {

enum Column : int {
    id_column = 1,
    schema_column,
    relation_column,
    name_column,
    key_identifier_column,
    key_expression_column,
    context_column,
    broken_column,
    registered_column,
    was_key_column,
    was_context_column,
    is_moving_column
};

// Both tables, of one moment.
template <typename Read>
auto read_registry(Read&& read) {
    const Snapshot snapshot = RegisterSnapshot(GetCatalogSnapshot(registered_column_table()));
    const auto found = read(snapshot);
    UnregisterSnapshot(snapshot);
    return found;
}

// --- what they say, with the names of today

const char* name_of(Datum name) {
    return pstrdup(NameStr(*DatumGetName(name)));
}

bool is_table(Oid relation) {
    const char kind = get_rel_relkind(relation);
    return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

bool is_bytea(Oid relation, AttrNumber attribute) {
    const Oid type = get_atttype(relation, attribute);
    return type != InvalidOid && getBaseType(type) == BYTEAOID;
}

Oid relation_named(const RegisteredColumn& column) {
    const Oid schema = get_namespace_oid(column.schema_name, true);
    return schema != InvalidOid ? get_relname_relid(column.relation_name, schema) : InvalidOid;
}

// Where nobody has noted where it is; not where another is.
void find_by_names(Snapshot snapshot, RegisteredColumn& column) {
    const Oid relation = relation_named(column);
    const AttrNumber attribute = is_table(relation) ? get_attnum(relation, column.column_name)
                                                    : AttrNumber{InvalidAttrNumber};
    if (attribute > 0 && is_bytea(relation, attribute) &&
        place_at(snapshot, relation, attribute).relation == InvalidOid) {
        column.relation = relation;
        column.attribute = attribute;
    }
}

// False where there is no such column any more.
bool rename_to_todays(RegisteredColumn& column, const NotedPlace& place) {
    const char* schema = get_namespace_name(get_rel_namespace(place.relation));
    const char* table = get_rel_name(place.relation);
    const char* name = get_attname(place.relation, place.attribute, true);
    if (schema == nullptr || table == nullptr || name == nullptr ||
        get_atttype(place.relation, place.attribute) == InvalidOid) {
        return false;
    }
    column.is_stale = strcmp(schema, column.schema_name) != 0 ||
                      strcmp(table, column.relation_name) != 0 ||
                      strcmp(name, column.column_name) != 0;
    column.schema_name = schema;
    column.relation_name = table;
    column.column_name = name;
    return true;
}

void rename_contexts(RegisteredColumn& column, const NotedPlace& place) {
    const ContextsToday today = contexts_today({.now = column.context_expression,
                                                .was = column.was.context_expression,
                                                .key = column.key_expression,
                                                .is_moving = column.is_moving,
                                                .broken = column.broken},
                                               place.relation, place.context);
    column.context_expression = today.contexts.now;
    column.was.context_expression = today.contexts.was;
    column.key_expression = today.contexts.key;
    column.broken = today.contexts.broken;
    column.context_names = today.names;
    column.is_stale = column.is_stale || today.is_stale;
}

void find_by_number(RegisteredColumn& column, const NotedPlace& place) {
    column.place = place.relation;
    if (!rename_to_todays(column, place)) {
        column.is_gone = true;
        return;
    }
    rename_contexts(column, place);
    if (is_bytea(place.relation, place.attribute)) {
        column.relation = place.relation;
        column.attribute = place.attribute;
    }
}

const char* text_or_null(const OwnRow& row, Column column) {
    return row.has(column) ? TextDatumGetCString(row[column]) : nullptr;
}

bool comes_before(const RegisteredColumn& one, const RegisteredColumn& other) {
    const auto names = [](const RegisteredColumn& column) {
        return std::array<std::string_view, 3>{column.schema_name, column.relation_name,
                                               column.column_name};
    };
    return names(one) < names(other);
}

ByteView bytes_or_none(const OwnRow& row, Column column) {
    return row.has(column) ? bytes_of_datum(row[column]) : ByteView{};
}

SealedAs sealed_before(const OwnRow& row) {
    return {.key_identifier = bytes_or_none(row, was_key_column),
            .key_expression = nullptr,
            .context_expression = text_or_null(row, was_context_column)};
}

RegisteredColumn column_of(Snapshot snapshot, const OwnRow& row, const NotedPlace& place) {
    RegisteredColumn column = {.id = *DatumGetUUIDP(row[id_column]),
                               .relation = InvalidOid,
                               .attribute = InvalidAttrNumber,
                               .key_identifier = bytes_or_none(row, key_identifier_column),
                               .key_expression = text_or_null(row, key_expression_column),
                               .context_expression = text_or_null(row, context_column),
                               .broken = text_or_null(row, broken_column),
                               .schema_name = name_of(row[schema_column]),
                               .relation_name = name_of(row[relation_column]),
                               .column_name = name_of(row[name_column]),
                               .registered = DatumGetTimestampTz(row[registered_column]),
                               .was = sealed_before(row),
                               .is_moving = DatumGetBool(row[is_moving_column]),
                               .version = row.version(),
                               .place = InvalidOid,
                               .is_gone = false,
                               .is_stale = false,
                               .context_names = {}};
    if (place.relation != InvalidOid) {
        find_by_number(column, place);
    } else {
        find_by_names(snapshot, column);
    }
    return column;
}

// `place_of(id)`: where the column is.
template <typename PlaceOf>
std::span<const RegisteredColumn> read_columns(Snapshot snapshot, const char* index,
                                               std::span<ScanKeyData> keys, PlaceOf&& place_of) {
    Collected<RegisteredColumn> columns;
    scan(snapshot, "registered_column", index, keys, [&](const OwnRow& row) {
        const NotedPlace place = place_of(*DatumGetUUIDP(row[id_column]));
        columns.add(column_of(snapshot, row, place));
    });
    return columns.all();
}

std::span<const RegisteredColumn> in_order(std::span<const RegisteredColumn> columns) {
    auto* sorted = allocate_many<RegisteredColumn>(columns.size());
    std::ranges::copy(columns, sorted);
    std::sort(sorted, sorted + columns.size(), comes_before);
    return {sorted, columns.size()};
}

const RegisteredColumn* column_at(Snapshot snapshot, Oid relation, AttrNumber attribute) {
    const NotedPlace place = place_at(snapshot, relation, attribute);
    if (place.relation == InvalidOid) {
        return nullptr;
    }
    ScanKeyData key[] = {match_id(id_column, place.id)};
    const auto found = read_columns(snapshot, "registered_column_pkey", key,
                                    [&](const pg_uuid_t&) { return place; });
    return found.empty() ? nullptr : found.data();
}

// Of those that are stored with these names, which another may have today, the one that is nowhere
// else.
const RegisteredColumn* column_stored_as(Snapshot snapshot, Oid relation, const char* column) {
    const char* schema = get_namespace_name(get_rel_namespace(relation));
    const char* table = get_rel_name(relation);
    if (schema == nullptr || table == nullptr) {
        return nullptr;
    }
    ScanKeyData keys[] = {match(schema_column, F_NAMEEQ, name_datum(schema)),
                          match(relation_column, F_NAMEEQ, name_datum(table)),
                          match(name_column, F_NAMEEQ, name_datum(column))};
    const auto stored = read_columns(snapshot, "registered_column_names", keys,
                                     [&](const pg_uuid_t& id) { return place_of(snapshot, id); });
    for (const RegisteredColumn& found : stored) {
        if (found.is_gone || found.place == InvalidOid) {
            return &found;
        }
    }
    return nullptr;
}

const RegisteredColumn* find(Oid relation, AttrNumber attribute, const char* column) {
    return read_registry([&](Snapshot snapshot) {
        const RegisteredColumn* found = column_at(snapshot, relation, attribute);
        return found != nullptr ? found : column_stored_as(snapshot, relation, column);
    });
}

// One that is not there is the empty one.
bool is_same_text(const char* one, const char* other) {
    return std::string_view(one != nullptr ? one : "") == (other != nullptr ? other : "");
}

const char* detail_of_fault(const RegisteredColumn& column, Oid type) {
    if (column.relation != InvalidOid) {
        return psprintf(
            "Its %s is broken: %s.",
            column.key_expression != nullptr ? "key or context expression" : "context expression",
            column.broken);
    }
    return getBaseType(type) != BYTEAOID ? psprintf("It is of type %s now.", format_type_be(type))
                                         : "Another column had the name when it was registered.";
}

}  // namespace

bool is_same_key(const SealedAs& one, const SealedAs& other) {
    return std::ranges::equal(one.key_identifier, other.key_identifier) &&
           is_same_text(one.key_expression, other.key_expression);
}

bool is_same_context(const SealedAs& one, const SealedAs& other) {
    return is_same_text(one.context_expression, other.context_expression);
}

bool is_same(const SealedAs& one, const SealedAs& other) {
    return is_same_key(one, other) && is_same_context(one, other);
}

bool is_same(const RegisteredColumn& one, const RegisteredColumn& other) {
    return is_same(one.now(), other.now()) && is_same(one.was, other.was) &&
           one.is_moving == other.is_moving;
}

const RegisteredColumn* find_registration(Oid relation, const char* column) {
    return find(relation, get_attnum(relation, column), column);
}

const RegisteredColumn* find_registration(Oid relation, AttrNumber attribute) {
    const char* column = get_attname(relation, attribute, true);
    return column != nullptr ? find(relation, attribute, column) : nullptr;
}

void require_intact(const RegisteredColumn& column, Oid type) {
    if (column.relation == InvalidOid || column.broken != nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("what is registered of %s does not hold any more", full_name(column)),
                 errdetail("%s", detail_of_fault(column, type)),
                 column.is_moving
                     ? errhint("It is being moved. Take it back with kms.unregister_column(), "
                               "register it with what it goes to, and CALL kms.reencrypt() with "
                               "that as new_key or new_context, and as was_context what the values "
                               "that are left are sealed with.")
                     : errhint("Say anew what the column holds, with kms.unregister_column() and "
                               "kms.register_column().")));
    }
}

const RegisteredColumn* find_registered_column(Oid relation, AttrNumber attribute) {
    const RegisteredColumn* column = find_registration(relation, attribute);
    if (column != nullptr) {
        require_intact(*column, get_atttype(relation, attribute));
    }
    return column;
}

std::span<const RegisteredColumn> registered_columns() {
    return read_registry([](Snapshot snapshot) {
        const std::span<const NotedPlace> places = all_places(snapshot);
        return in_order(read_columns(snapshot, nullptr, {},
                                     [&](const pg_uuid_t& id) { return place_among(places, id); }));
    });
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

Oid type_instead(const RegisteredColumn& column) {
    if (OidIsValid(column.relation) || column.is_gone) {
        return InvalidOid;
    }
    const Oid relation = OidIsValid(column.place) ? column.place : relation_named(column);
    const AttrNumber attribute =
        OidIsValid(relation) ? get_attnum(relation, column.column_name) : AttrNumber{0};
    return attribute > 0 && !is_bytea(relation, attribute) ? get_atttype(relation, attribute)
                                                           : InvalidOid;
}

const RegisteredColumn* covering(Oid relation, const char* column,
                                 std::span<const RegisteredColumn> registered) {
    const List* ancestors =
        relation != InvalidOid ? find_all_ancestors(relation) : static_cast<List*>(NIL);
    for (const RegisteredColumn& other : registered) {
        if (list_member_oid(ancestors, other.relation) && strcmp(other.column_name, column) == 0) {
            return &other;
        }
    }
    return nullptr;
}

const char* root_above(const RegisteredColumn& column) {
    if (column.relation == InvalidOid || !get_rel_relispartition(column.relation)) {
        return nullptr;
    }
    const List* ancestors = get_partition_ancestors(column.relation);
    return ancestors == NIL ? nullptr : get_rel_name(llast_oid(ancestors));
}

const char* full_name(const RegisteredColumn& column) {
    return psprintf("%s.%s", quote_qualified_identifier(column.schema_name, column.relation_name),
                    quote_identifier(column.column_name));
}

const char* shown_key(const SealedAs& sealed_as) {
    return sealed_as.key_expression != nullptr
               ? psprintf("(%s)", sealed_as.key_expression)
               : psprintf("\"%s\"", shown_identifier(sealed_as.key_identifier));
}

Oid registered_column_table() {
    return own_table("registered_column");
}

}  // namespace kms::pg
