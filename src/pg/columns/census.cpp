#include "pg/columns/census.hpp"

#include "pg/columns/census_scan.hpp"
#include "pg/tables/elsewhere.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

void require_populated(Relation table) {
    if (!RelationIsScannable(table)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("materialized view \"%s\" has not been populated",
                               RelationGetRelationName(table)),
                        errhint("Use the REFRESH MATERIALIZED VIEW command.")));
    }
}

// What there is to say of the first part of which there is something.
template <typename Describe>
const char* first_of_parts(Oid relation, Describe&& describe) {
    ListCell* cell = nullptr;
    foreach (cell, find_all_parts(relation, AccessShareLock)) {
        if (const char* text = describe(lfirst_oid(cell))) {
            return text;
        }
    }
    return nullptr;
}

void refuse_unlogged_on_standby(Oid relation) {
    if (const char* name = unlogged_part_on_standby(relation)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("rows of the unlogged table \"%s\" are not on a standby", name)));
    }
}

// Another server would be asked with the rights that somebody else has there.
void refuse_rows_elsewhere(Oid relation) {
    if (const char* part = part_elsewhere(relation)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("rows cannot be counted: table %s", part)));
    }
}

// A child table has its columns in an order of its own. A partitioned table has no rows, and those
// of another session's temporary table are nobody else's.
template <typename Count>
void count_part(Oid part, const char* column, Count&& count) {
    const Relation table = relation_open(part, NoLock);
    if (RELKIND_HAS_STORAGE(table->rd_rel->relkind) && !RELATION_IS_OTHER_TEMP(table)) {
        const AttrNumber attribute = attribute_named(table, column);
        require_populated(table);
        require_bytea(table, attribute);
        count(table, attribute);
    }
    relation_close(table, NoLock);
}

template <typename Count>
void count_parts(Oid relation, AttrNumber attribute, Count&& count) {
    const char* column = get_attname(relation, attribute, false);
    ListCell* cell = nullptr;
    foreach (cell, find_all_parts(relation, AccessShareLock)) {
        count_part(lfirst_oid(cell), column, count);
    }
}

}  // namespace

const char* part_elsewhere(Oid relation) {
    return first_of_parts(relation, [](Oid part) -> const char* {
        const char* why = why_elsewhere(part);
        return why != nullptr ? psprintf("\"%s\" %s", get_rel_name(part), why) : nullptr;
    });
}

const char* unlogged_part_on_standby(Oid relation) {
    if (!RecoveryInProgress()) {
        return nullptr;
    }
    return first_of_parts(relation, [](Oid part) -> const char* {
        const bool is_unlogged = get_rel_persistence(part) == RELPERSISTENCE_UNLOGGED &&
                                 RELKIND_HAS_STORAGE(get_rel_relkind(part));
        return is_unlogged ? get_rel_name(part) : nullptr;
    });
}

std::span<const CensusEntry> census_in_snapshot(Oid relation, AttrNumber attribute) {
    CensusCounter counter(CurrentMemoryContext);
    count_parts(relation, attribute,
                [&](Relation table, AttrNumber own) { count_rows_of(table, own, counter); });
    return counter.entries();
}

std::span<const CensusEntry> census_for_anybody(Oid relation, AttrNumber attribute,
                                                Snapshot before) {
    CensusCounter counter(CurrentMemoryContext);
    count_parts(relation, attribute, [&](Relation table, AttrNumber own) {
        count_rows_for_anybody(table, own, before, counter);
    });
    return counter.entries();
}

std::span<const CensusEntry> take_census(Oid relation, AttrNumber attribute) {
    Assert(CheckRelationOidLockedByMe(relation, AccessShareLock, true));
    refuse_rows_elsewhere(relation);
    refuse_unlogged_on_standby(relation);
    return in_one_snapshot([&] { return census_in_snapshot(relation, attribute); });
}

}  // namespace kms::pg
