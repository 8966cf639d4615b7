// What event triggers ask about the registry, and about the commands that they are told of.
#include <algorithm>

#include "pg/columns/registry.hpp"
#include "pg/contexts/context_names.hpp"
#include "pg/contexts/context_type.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/rows.hpp"
#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

Datum names_datum(std::span<const char* const> names) {
    auto* items = allocate_many<Datum>(names.size());
    std::ranges::transform(names, items, name_datum);
    return PointerGetDatum(construct_array(items, static_cast<int>(names.size()), NAMEOID,
                                           NAMEDATALEN, false, TYPALIGN_CHAR));
}

const CollectedCommand* command_argument(FunctionCallInfo fcinfo, int index) {
    required(fcinfo, index, "command");
    return reinterpret_cast<const CollectedCommand*>(PG_GETARG_POINTER(index));
}

void add_stale(RowSet& rows, const RegisteredColumn& column) {
    Datum values[] = {UUIDPGetDatum(&column.id),
                      PointerGetDatum(&column.version.place),
                      TransactionIdGetDatum(column.version.writer),
                      ObjectIdGetDatum(column.place),
                      BoolGetDatum(column.is_gone),
                      name_datum(column.schema_name),
                      name_datum(column.relation_name),
                      name_datum(column.column_name),
                      text_or_null(column.context_expression),
                      text_or_null(column.was.context_expression),
                      text_or_null(column.key_expression),
                      text_or_null(column.broken),
                      names_datum(column.context_names)};
    bool nulls[lengthof(values)] = {};
    nulls[8] = column.context_expression == nullptr;
    nulls[9] = column.was.context_expression == nullptr;
    nulls[10] = column.key_expression == nullptr;
    nulls[11] = column.broken == nullptr;
    rows.add(values, nulls);
}

// The command has locked it. Its search_path is not that of an event trigger's function.
Oid detached_by(const AlterTableCmd& command) {
    const RangeVar& named = *reinterpret_cast<const PartitionCmd*>(command.def)->name;
    CatCList* found = SearchSysCacheList1(RELNAMENSP, CStringGetDatum(named.relname));
    Oid detached = InvalidOid;
    for (int i = 0; i < found->n_members; ++i) {
        const auto& table = *reinterpret_cast<Form_pg_class>(GETSTRUCT(&found->members[i]->tuple));
        if ((named.schemaname == nullptr ||
             table.relnamespace == get_namespace_oid(named.schemaname, true)) &&
            CheckRelationOidLockedByMe(table.oid, ShareUpdateExclusiveLock, true)) {
            detached = table.oid;
        }
    }
    ReleaseSysCacheList(found);
    return detached;
}

void add_left(RowSet& rows, Oid child, Oid parent) {
    Datum values[] = {ObjectIdGetDatum(child), ObjectIdGetDatum(parent)};
    bool nulls[lengthof(values)] = {};
    rows.add(values, nulls);
}

}  // namespace

KMS_FUNCTION(kms_stale_registrations) {
    RowSet rows(fcinfo);
    for (const RegisteredColumn& column : registered_columns()) {
        if (column.is_gone || column.is_stale) {
            add_stale(rows, column);
        }
    }
    PG_RETURN_NULL();
}

KMS_FUNCTION(kms_context_columns) {
    Collected<const char*> names;
    if (!PG_ARGISNULL(0)) {
        const List* found = names_of_columns(text_to_cstring(PG_GETARG_TEXT_PP(0)));
        for (int i = 0; i < list_length(found); ++i) {
            names.add(static_cast<const char*>(list_nth(found, i)));
        }
    }
    PG_RETURN_DATUM(names_datum(names.all()));
}

KMS_FUNCTION(kms_context_type) {
    required(fcinfo, 0, "type");
    required(fcinfo, 1, "modifier");
    required(fcinfo, 2, "of_collation");
    TypeBound bound;
    PG_RETURN_TEXT_P(cstring_to_text(
        context_type(PG_GETARG_OID(0), PG_GETARG_INT32(1), PG_GETARG_OID(2), bound)));
}

KMS_FUNCTION(kms_names_renamed) {
    const CollectedCommand* command = command_argument(fcinfo, 1);
    PG_RETURN_BOOL(!PG_ARGISNULL(0) && command->type == SCT_Simple &&
                   names_renamed(text_to_cstring(PG_GETARG_TEXT_PP(0)), command->parsetree,
                                 command->d.simple.address));
}

KMS_FUNCTION(kms_label_renamed) {
    const CollectedCommand* command = command_argument(fcinfo, 1);
    PG_RETURN_BOOL(!PG_ARGISNULL(0) && command->type == SCT_Simple &&
                   is_rename_of_label(command->parsetree) &&
                   is_made_of(PG_GETARG_OID(0), command->d.simple.address.objectId));
}

// What a command has taken from its parent: DETACH PARTITION names the part, NO INHERIT the parent.
KMS_FUNCTION(kms_left_parents) {
    const CollectedCommand* command = command_argument(fcinfo, 0);
    RowSet rows(fcinfo);
    const List* steps =
        command->type == SCT_AlterTable ? command->d.alterTable.subcmds : static_cast<List*>(NIL);
    for (int i = 0; i < list_length(steps); ++i) {
        const auto* step = static_cast<const CollectedATSubcmd*>(list_nth(steps, i));
        const auto& altering = *reinterpret_cast<const AlterTableCmd*>(step->parsetree);
        const Oid altered = command->d.alterTable.objectId;
        if (altering.subtype == AT_DropInherit) {
            add_left(rows, altered, step->address.objectId);
        } else if (altering.subtype == AT_DetachPartition ||
                   altering.subtype == AT_DetachPartitionFinalize) {
            add_left(rows, detached_by(altering), altered);
        }
    }
    PG_RETURN_NULL();
}

}  // namespace kms::pg
