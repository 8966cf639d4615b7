#include "pg/tables/own_table.hpp"

namespace kms::pg {

Oid own_table(const char* name) {
    const Oid table = get_relname_relid(name, get_namespace_oid("kms", false));
    if (table == InvalidOid) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no table kms.%s", name),
                        errhint("Make the extension with CREATE EXTENSION kms.")));
    }
    return table;
}

}  // namespace kms::pg
