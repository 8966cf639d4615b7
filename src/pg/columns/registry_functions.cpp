// register_column, unregister_column, forget_column and the view registered_columns.
#include <algorithm>

#include "pg/columns/in_step_trigger.hpp"
#include "pg/columns/registry_writer.hpp"
#include "pg/columns/sealed_contexts.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/rows.hpp"
#include "pg/server/transaction.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

// Locked until the transaction is over, so that nobody renames what is being registered. It may
// have been given away while the lock was waited for.
Relation open_own_table(FunctionCallInfo fcinfo) {
    required(fcinfo, 0, "relation");
    const Oid relation = PG_GETARG_OID(0);
    require_owner(relation);
    const Relation table = relation_open(relation, AccessShareLock);
    require_owner(relation);
    return table;
}

[[noreturn]] void raise_wrong_kind(Relation table, const char* problem, const char* hint) {
    ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                    errmsg("\"%s\" %s", RelationGetRelationName(table), problem),
                    hint != nullptr ? errhint("%s", hint) : 0));
    pg_unreachable();
}

void require_table(Relation table) {
    const FormData_pg_class& kind = *table->rd_rel;
    if (kind.relkind != RELKIND_RELATION && kind.relkind != RELKIND_PARTITIONED_TABLE) {
        raise_wrong_kind(table, "is not a table", nullptr);
    }
    if (kind.relpersistence == RELPERSISTENCE_TEMP) {
        raise_wrong_kind(table, "is a temporary table", nullptr);
    }
    if (IsSystemRelation(table)) {
        raise_wrong_kind(table, "is a system catalog", nullptr);
    }
    if (RelationGetNamespace(table) == get_namespace_oid("kms", true)) {
        raise_wrong_kind(table, "is one of the extension's own", nullptr);
    }
    if (kind.relispartition) {
        const List* ancestors = get_partition_ancestors(RelationGetRelid(table));
        if (ancestors == NIL) {
            raise_wrong_kind(table, "is a partition that is being detached",
                             "ALTER TABLE ... DETACH PARTITION ... FINALIZE ends that.");
        }
        raise_wrong_kind(table, "is a partition",
                         psprintf("Register the column of \"%s\", which covers its partitions.",
                                  get_rel_name(llast_oid(ancestors))));
    }
}

void refuse_generated(Relation table, AttrNumber attribute) {
    const FormData_pg_attribute& column = *TupleDescAttr(RelationGetDescr(table), attribute - 1);
    if (column.attgenerated != '\0') {
        ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
                        errmsg("column \"%s\" is a generated column", NameStr(column.attname))));
    }
}

void refuse_registered(Relation table, const char* column, AttrNumber attribute) {
    const RegisteredColumn* registered = find_registration(RelationGetRelid(table), attribute);
    if (registered != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
                        errmsg("column \"%s\" of table \"%s\" is registered already", column,
                               RelationGetRelationName(table)),
                        registered->is_moving
                            ? errhint("It is being moved: CALL kms.reencrypt() until all rows are "
                                      "there.")
                            : errhint("kms.unregister_column() undoes it.")));
    }
}

void refuse_covered(Relation table, const char* column) {
    if (const RegisteredColumn* above =
            covering(RelationGetRelid(table), column, registered_columns())) {
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
                        errmsg("column \"%s\" of table \"%s\" is registered as %s", column,
                               RelationGetRelationName(table), full_name(*above)),
                        errdetail("What is registered of a table covers its child tables.")));
    }
}

void refuse_in_context(Relation table, const char* column) {
    if (const RegisteredColumn* sealed = sealed_under(RelationGetRelid(table), column)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of table \"%s\" is part of a context or key", column,
                               RelationGetRelationName(table)),
                        errdetail("The values of %s are sealed under it, and would open no more "
                                  "once it is sealed again.",
                                  full_name(*sealed)),
                        errhint("%s", how_to_come_away(*sealed))));
    }
}

// Its number.
AttrNumber require_registrable(Relation table, const char* column) {
    require_table(table);
    const AttrNumber attribute = attribute_named(table, column);
    require_bytea(table, attribute);
    refuse_generated(table, attribute);
    refuse_registered(table, column, attribute);
    refuse_covered(table, column);
    refuse_in_context(table, column);
    return attribute;
}

// What checks a context expression runs code of the table's owner, which may have changed all of
// it.
void require_still_registrable(Relation table, const char* column, AttrNumber attribute) {
    require_owner(RelationGetRelid(table));
    if (attribute_named(table, column) != attribute) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("column \"%s\" of relation \"%s\" was renamed meanwhile", column,
                               RelationGetRelationName(table))));
    }
    (void)require_registrable(table, column);
}

void add_row(RowSet& rows, const RegisteredColumn& column) {
    const SealedAs& was = column.was;
    const bool has_moved = !was.key_identifier.empty();
    const bool has_one_key = !column.key_identifier.empty();
    Datum values[11] = {ObjectIdGetDatum(column.relation),
                        name_datum(column.column_name),
                        has_one_key ? identifier_datum(column.key_identifier) : Datum{0},
                        text_or_null(column.key_expression),
                        text_or_null(column.context_expression),
                        TimestampTzGetDatum(column.registered),
                        CStringGetTextDatum(full_name(column)),
                        has_moved ? identifier_datum(was.key_identifier) : Datum{0},
                        text_or_null(was.context_expression),
                        BoolGetDatum(column.is_moving),
                        text_or_null(column.broken)};
    bool nulls[11] = {column.relation == InvalidOid,
                      false,
                      !has_one_key,
                      has_one_key,
                      column.context_expression == nullptr,
                      false,
                      false,
                      !has_moved,
                      was.context_expression == nullptr,
                      false,
                      column.broken == nullptr};
    rows.add(values, nulls);
}

// Nothing knows any more under what the values are that were not moved yet.
void warn_of_move(const RegisteredColumn& column) {
    if (column.is_moving) {
        const char* context = column.was.context_expression;
        ereport(
            WARNING,
            (errmsg("column \"%s\" of \"%s\" was being moved to another key or context",
                    column.column_name, column.relation_name),
             errdetail("Values may be sealed under key \"%s\" and %s.",
                       shown_identifier(column.was.key_identifier),
                       context != nullptr ? psprintf("context %s", context) : "the empty context"),
             errhint("Register it with these, and CALL kms.reencrypt() with its new_key or "
                     "new_context. Where that context can be read no more, register it with what "
                     "it goes to, and say as was_context what the values that are left are sealed "
                     "with.")));
    }
}

// Its trigger would not know the key any more, unless what is registered of a table above it says
// it.
void warn_of_pair(Relation table, const char* column) {
    if (covering(RelationGetRelid(table), column, registered_columns()) != nullptr) {
        return;
    }
    const InStepTrigger into = find_in_step_trigger_into(table, column);
    const InStepTrigger from = find_in_step_trigger(table, column);
    const char* trigger = into.name != nullptr ? into.name : from.name;
    if (trigger != nullptr) {
        ereport(WARNING,
                (errmsg("trigger \"%s\" of \"%s\" keeps column \"%s\" in step with another, and "
                        "refuses rows until it is registered again",
                        trigger, RelationGetRelationName(table), column),
                 errhint("Register it as it was; or, to give up, drop the trigger.")));
    }
}

void require_registrys_owner() {
    if (!caller_owns(registered_column_table())) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("permission denied to take back what is registered of no column"),
                        errdetail("Nobody owns a table that is not there."),
                        errhint("Let the extension's owner, or a superuser, call it.")));
    }
}

// Its values may be there in another form.
void require_no_column(const RegisteredColumn& column) {
    const Oid type = type_instead(column);
    if (OidIsValid(type)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column %s is there, and of type %s by now", full_name(column),
                               format_type_be(type)),
                        errhint("Give it the type bytea again. Where nothing that it holds needs "
                                "a key, its table's owner takes it back with "
                                "kms.unregister_column().")));
    }
}

}  // namespace

KMS_FUNCTION(kms_register_column) {
    require_writable("kms.register_column()");
    require_read_committed("kms.register_column()");
    const Relation table = open_own_table(fcinfo);
    const char* column = column_argument(fcinfo);
    const ByteView identifier = key_argument(fcinfo, 2, "key_identifier");
    const char* key = text_argument(fcinfo, 4);
    const char* context = text_argument(fcinfo, 3);
    require_one_key("kms.register_column()", identifier, key);
    const AttrNumber attribute = require_registrable(table, column);
    const SealedAs sealed_as = {
        .key_identifier = identifier,
        .key_expression = key != nullptr ? checked_key(table, attribute, key) : nullptr,
        .context_expression =
            context != nullptr ? checked_context(table, attribute, context) : nullptr};
    require_still_registrable(table, column, attribute);
    require_over_nothing_sealed(table, sealed_as.context_expression);
    require_over_nothing_sealed(table, sealed_as.key_expression);
    add_registration(table, attribute, sealed_as);
    warn_of_updates(table, sealed_as);
    if (key != nullptr) {
        warn_of_defaults(RelationGetRelid(table), column,
                         "DROP DEFAULT: none can name the key of its row.");
    }
    relation_close(table, NoLock);
    PG_RETURN_VOID();
}

KMS_FUNCTION(kms_unregister_column) {
    require_writable("kms.unregister_column()");
    const Relation table = open_own_table(fcinfo);
    const char* column = column_argument(fcinfo);
    const RegisteredColumn* registered = find_registration(RelationGetRelid(table), column);
    if (registered == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("column \"%s\" of table \"%s\" is not registered", column,
                               RelationGetRelationName(table))));
    }
    remove_registration(*registered);
    warn_of_move(*registered);
    warn_of_pair(table, column);
    relation_close(table, NoLock);
    PG_RETURN_VOID();
}

KMS_FUNCTION(kms_forget_column) {
    require_writable("kms.forget_column()");
    required(fcinfo, 0, "full_name");
    require_registrys_owner();
    const char* name = text_to_cstring(PG_GETARG_TEXT_PP(0));
    std::int32_t count = 0;
    for (const RegisteredColumn& column : registered_columns()) {
        if (!OidIsValid(column.relation) && strcmp(full_name(column), name) == 0) {
            require_no_column(column);
            remove_registration(column);
            ++count;
        }
    }
    if (count == 0) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                        errmsg("nothing is registered as %s that is of no column here", name),
                        errhint("kms.registered_columns shows such a row without a relation, and "
                                "its full_name.")));
    }
    PG_RETURN_INT32(count);
}

KMS_FUNCTION(kms_registered_columns) {
    RowSet rows(fcinfo);
    for (const RegisteredColumn& column : registered_columns()) {
        add_row(rows, column);
    }
    PG_RETURN_NULL();
}

}  // namespace kms::pg
