#include "pg/columns/opening.hpp"

namespace kms::pg {
namespace {

// (key identifier, value, context).
Oid opening_function(const char* name) {
    Oid types[] = {TEXTOID, BYTEAOID, BYTEAOID};
    return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
                           PointerGetDatum(buildoidvector(types, lengthof(types))),
                           ObjectIdGetDatum(get_namespace_oid("kms", false)));
}

}  // namespace

OpensAs opens_as(const SealedAs& sealed_as) {
    const char* context = sealed_as.context_expression;
    return {TextDatumGetCString(identifier_datum(sealed_as.key_identifier)),
            context != nullptr ? context : ""};
}

void require_opens_as(const OpensAs& trigger, const RegisteredColumn& column) {
    const OpensAs registered = opens_as(column.now());
    if (column.key_expression != nullptr || strcmp(trigger.key, registered.key) != 0 ||
        strcmp(trigger.context, registered.context) != 0) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("column \"%s\" of \"%s\" is registered with another key or context than "
                        "kms.decrypt_column began with",
                        column.column_name, column.relation_name),
                 errhint("Register it as it was. To begin anew instead, drop the trigger that "
                         "kms.decrypt_column made; and then the new column, where every value is "
                         "in column \"%s\" still.",
                         column.column_name)));
    }
}

bool may_execute(Oid role, Oid function) {
    return OidIsValid(function) &&
           DatumGetBool(DirectFunctionCall3(has_function_privilege_id_id, ObjectIdGetDatum(role),
                                            ObjectIdGetDatum(function), text_datum("EXECUTE")));
}

void require_may_open(const char* table, const char* column) {
    if (!may_execute(GetUserId(), opening_function("decode_with_text")) &&
        !may_execute(GetUserId(), opening_function("decode_with"))) {
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("permission denied to have column \"%s\" of \"%s\" opened", column, table),
                 errhint("That needs EXECUTE on kms.decode_with_text(text, bytea, bytea) or "
                         "kms.decode_with(text, bytea, bytea).")));
    }
}

void require_writer_may_open(const char* table, const char* column) {
    if (InNoForceRLSOperation()) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("column \"%s\" of \"%s\" is not opened for the action of a foreign "
                               "key",
                               column, table),
                        errdetail("It runs in the name of the table's owner, whoever has changed "
                                  "what the key refers to."),
                        errhint("Change such values when kms.switch_column() is done.")));
    }
    require_may_open(table, column);
}

}  // namespace kms::pg
