#include "pg/pairs/pair.hpp"

#include <algorithm>

#include "pg/server/collected.hpp"
#include "pg/tables/table_change.hpp"

namespace kms::pg {
namespace {

PairColumn column_named(Oid table, const char* name) {
    PairColumn column = {get_attnum(table, name), InvalidOid, 0};
    if (column.number != InvalidAttrNumber) {
        Oid collation = InvalidOid;
        get_atttypetypmodcoll(table, column.number, &column.type, &column.typmod, &collation);
    }
    return column;
}

// The columns have one name in all tables, but a number in each.
PairTable table_of(const Pair& pair, Oid table) {
    return {table, column_named(table, pair.plain), column_named(table, pair.encrypted)};
}

bool is_as_it_was(const Pair& pair, const PairTable& table) {
    const PairTable now = table_of(pair, table.oid);
    return now.plain == table.plain && now.encrypted == table.encrypted;
}

bool has_same_tables(const Pair& pair) {
    const List* tables = find_all_inheritors(pair.relation, AccessShareLock, nullptr);
    return static_cast<std::size_t>(list_length(tables)) == pair.tables.size() &&
           std::ranges::all_of(pair.tables, [&](const PairTable& table) {
               return list_member_oid(tables, table.oid);
           });
}

}  // namespace

Pair with_tables(const Pair& pair) {
    Collected<PairTable> tables;
    const List* all = find_all_inheritors(pair.relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(all); ++i) {
        const PairTable table = table_of(pair, list_nth_oid(all, i));
        if (pair.from(table).number <= 0) {
            raise_changed(table.oid);
        }
        tables.add(table);
    }
    Pair whole = pair;
    whole.tables = tables.all();
    return whole;
}

Relation open_unchanged(const Pair& pair, const PairTable& table) {
    const Relation relation = try_relation_open(table.oid, NoLock);
    if (relation == nullptr) {
        raise_changed(pair.relation);
    }
    require_unchanged(pair, table);
    return relation;
}

void require_unchanged(const Pair& pair, const PairTable& table) {
    if (!is_as_it_was(pair, table)) {
        raise_changed(table.oid);
    }
}

void require_unchanged(const Pair& pair) {
    if (!has_same_tables(pair)) {
        raise_changed(pair.relation);
    }
    for (const PairTable& table : pair.tables) {
        require_unchanged(pair, table);
    }
}

bool is_switched(const Pair& pair) {
    return std::ranges::all_of(pair.tables, [&](const PairTable& table) {
        return get_atttype(table.oid, pair.from(table).number) == InvalidOid &&
               column_named(table.oid, pair.to()) == pair.to(table);
    });
}

}  // namespace kms::pg
