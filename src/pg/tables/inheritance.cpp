#include "pg/tables/inheritance.hpp"

#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

List* add_parents(List* tables, Oid table) {
    const Relation inherits = table_open(InheritsRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(table));
    SysScanDesc scan =
        systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, nullptr, 1, &key);
    while (HeapTuple row = systable_getnext(scan)) {
        const auto* link = reinterpret_cast<Form_pg_inherits>(GETSTRUCT(row));
        tables = list_append_unique_oid(tables, link->inhparent);
    }
    systable_endscan(scan);
    table_close(inherits, AccessShareLock);
    return tables;
}

// The table itself, and all that it inherits from.
const List* with_ancestors(Oid table) {
    List* tables = list_make1_oid(table);
    for (int i = 0; i < list_length(tables); ++i) {
        tables = add_parents(tables, list_nth_oid(tables, i));
    }
    return tables;
}

}  // namespace

const List* find_all_parts(Oid relation, LOCKMODE lock) {
    List* parts = list_make1_oid(relation);
    for (int i = 0; i < list_length(parts); ++i) {
        const Oid parent = list_nth_oid(parts, i);
        parts = list_concat_unique_oid(
            parts, find_inheritance_children_extended(parent, false, lock, nullptr, nullptr));
    }
    return parts;
}

void require_none_detaching(Oid relation) {
    const List* reached = find_all_inheritors(relation, AccessShareLock, nullptr);
    const List* parts = find_all_parts(relation, AccessShareLock);
    for (int i = 0; i < list_length(parts); ++i) {
        const Oid part = list_nth_oid(parts, i);
        if (!list_member_oid(reached, part)) {
            ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                            errmsg("partition \"%s\" of \"%s\" is being detached",
                                   get_rel_name(part), get_rel_name(relation)),
                            errhint("ALTER TABLE ... DETACH PARTITION ... FINALIZE ends that.")));
        }
    }
}

void require_own_rows(Relation table) {
    if (table->rd_tableam == nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("\"%s\" holds no rows of its own", RelationGetRelationName(table)),
                 errdetail("It is a foreign table or a view, and was none, or was no part of "
                           "the table, when the command began.")));
    }
}

const List* find_all_ancestors(Oid table) {
    return list_delete_first(const_cast<List*>(with_ancestors(table)));
}

bool is_part_of(Oid table, Oid ancestor) {
    return list_member_oid(with_ancestors(table), ancestor);
}

void require_owner_above(Oid part, Oid relation) {
    const Oid owner = owner_of(relation);
    const List* tables = with_ancestors(part);
    for (int i = 0; i < list_length(tables); ++i) {
        const Oid table = list_nth_oid(tables, i);
        if (owner_of(table) != owner) {
            ereport(
                ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("\"%s\" and \"%s\" belong to different roles", get_rel_name(table),
                        get_rel_name(relation)),
                 errdetail("What the owner of one has written, constraints and triggers say, "
                           "is inherited by the other, and would run in the name of its owner."),
                 errhint("Give both the same owner with ALTER TABLE ... OWNER TO.")));
        }
    }
}

void require_one_owner(Oid relation) {
    const List* parts = find_all_inheritors(relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(parts); ++i) {
        require_owner_above(list_nth_oid(parts, i), relation);
    }
}

void require_own_table(const char* procedure, Oid relation) {
    const Relation table = relation_open(relation, AccessShareLock);
    const FormData_pg_class& kind = *table->rd_rel;
    require_owner(relation);
    const bool is_plain = kind.relkind == RELKIND_RELATION &&
                          list_length(find_all_inheritors(relation, NoLock, nullptr)) == 1;
    if ((!is_plain && kind.relkind != RELKIND_PARTITIONED_TABLE) || has_superclass(relation) ||
        IsSystemRelation(table)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("%s takes ordinary and partitioned tables, and \"%s\" is none",
                               procedure, RelationGetRelationName(table)),
                        errdetail("Partitions go with their root; tables that inherit, or from "
                                  "which others inherit, are not taken.")));
    }
    relation_close(table, NoLock);
    require_none_detaching(relation);
    require_one_owner(relation);
}

}  // namespace kms::pg
