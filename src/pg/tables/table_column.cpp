#include "pg/tables/table_column.hpp"

#include "pg/tables/table_change.hpp"

namespace kms::pg {

const char* column_argument(FunctionCallInfo fcinfo) {
    required(fcinfo, 1, "column_name");
    return NameStr(*PG_GETARG_NAME(1));
}

AttrNumber attribute_named(Oid relation, const char* name) {
    const AttrNumber attribute = get_attnum(relation, name);
    if (attribute == InvalidAttrNumber) {
        const char* table = get_rel_name(relation);
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("column \"%s\" of relation \"%s\" does not exist", name,
                               table != nullptr ? table : "(dropped)")));
    }
    if (attribute < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                        errmsg("\"%s\" is a system column", name)));
    }
    return attribute;
}

AttrNumber attribute_named(Relation table, const char* name) {
    return attribute_named(RelationGetRelid(table), name);
}

const char* schema_name(Relation table) {
    const char* name = get_namespace_name(RelationGetNamespace(table));
    if (name == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA),
                        errmsg("the schema of relation \"%s\" does not exist any more",
                               RelationGetRelationName(table))));
    }
    return name;
}

void require_named(Oid relation, AttrNumber attribute, const char* name) {
    if (get_attnum(relation, name) != attribute) {
        raise_changed(relation);
    }
}

void require_bytea(Relation table, AttrNumber attribute) {
    const FormData_pg_attribute& column = *TupleDescAttr(RelationGetDescr(table), attribute - 1);
    if (getBaseType(column.atttypid) != BYTEAOID) {
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("column \"%s\" is of type %s, and sealed values are bytea",
                               NameStr(column.attname), format_type_be(column.atttypid))));
    }
}

}  // namespace kms::pg
