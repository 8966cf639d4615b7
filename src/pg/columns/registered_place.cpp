#include "pg/columns/registered_place.hpp"

#include <algorithm>

#include "pg/columns/registry_rows.hpp"
#include "pg/server/collected.hpp"

namespace kms::pg {
namespace {

enum Column : int {
    id_column = 1,
    relation_column,
    attribute_column,
    context_names_column,
    context_attributes_column,
    context_types_column
};

struct Items {
    Datum* values;
    int count;
};

Items items_of(Datum array, Oid type, std::int16_t length, bool by_value, char alignment) {
    Items items = {nullptr, 0};
    deconstruct_array(DatumGetArrayTypeP(array), type, length, by_value, alignment, &items.values,
                      nullptr, &items.count);
    return items;
}

std::span<const ContextColumn> context_of(const OwnRow& row) {
    const Items names =
        items_of(row[context_names_column], NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR);
    const Items attributes = items_of(row[context_attributes_column], INT2OID, sizeof(std::int16_t),
                                      true, TYPALIGN_SHORT);
    const Items types = items_of(row[context_types_column], TEXTOID, -1, false, TYPALIGN_INT);
    const int count = std::min({names.count, attributes.count, types.count});
    Collected<ContextColumn> columns;
    for (int i = 0; i < count; ++i) {
        columns.add({NameStr(*DatumGetName(names.values[i])), DatumGetInt16(attributes.values[i]),
                     TextDatumGetCString(types.values[i])});
    }
    return columns.all();
}

NotedPlace place_in(const OwnRow& row) {
    return {DatumGetObjectId(row[relation_column]), DatumGetInt16(row[attribute_column]),
            *DatumGetUUIDP(row[id_column]), context_of(row)};
}

NotedPlace noted_place(Snapshot snapshot, const char* index, std::span<ScanKeyData> keys) {
    NotedPlace place = {};
    scan(snapshot, "registered_place", index, keys,
         [&](const OwnRow& row) { place = place_in(row); });
    return place;
}

int order_of(const pg_uuid_t& one, const pg_uuid_t& other) {
    return memcmp(one.data, other.data, UUID_LEN);
}

}  // namespace

NotedPlace place_of(Snapshot snapshot, const pg_uuid_t& id) {
    ScanKeyData key[] = {match_id(id_column, id)};
    return noted_place(snapshot, "registered_place_pkey", key);
}

NotedPlace place_at(Snapshot snapshot, Oid relation, AttrNumber attribute) {
    ScanKeyData keys[] = {match(relation_column, F_OIDEQ, ObjectIdGetDatum(relation)),
                          match(attribute_column, F_INT2EQ, Int16GetDatum(attribute))};
    return noted_place(snapshot, "registered_place_at", keys);
}

std::span<const NotedPlace> all_places(Snapshot snapshot) {
    Collected<NotedPlace> found;
    scan(snapshot, "registered_place", nullptr, {},
         [&](const OwnRow& row) { found.add(place_in(row)); });
    const std::size_t count = found.all().size();
    auto* places = allocate_many<NotedPlace>(count);
    std::ranges::copy(found.all(), places);
    std::sort(places, places + count, [](const NotedPlace& one, const NotedPlace& other) {
        return order_of(one.id, other.id) < 0;
    });
    return {places, count};
}

NotedPlace place_among(std::span<const NotedPlace> places, const pg_uuid_t& id) {
    const auto found = std::lower_bound(places.begin(), places.end(), id,
                                        [](const NotedPlace& place, const pg_uuid_t& other) {
                                            return order_of(place.id, other) < 0;
                                        });
    return found != places.end() && order_of(found->id, id) == 0 ? *found : NotedPlace{};
}

}  // namespace kms::pg
