#include "pg/table_column.hpp"

namespace kms::pg {

const char* column_argument(FunctionCallInfo fcinfo) {
    required(fcinfo, 1, "column_name");
    return NameStr(*PG_GETARG_NAME(1));
}

AttrNumber attribute_named(Relation table, const char* name) {
    const AttrNumber attribute = get_attnum(RelationGetRelid(table), name);
    if (attribute == InvalidAttrNumber) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("column \"%s\" of relation \"%s\" does not exist", name,
                               RelationGetRelationName(table))));
    }
    if (attribute < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                        errmsg("\"%s\" is a system column", name)));
    }
    return attribute;
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
