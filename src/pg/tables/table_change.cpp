#include "pg/tables/table_change.hpp"

namespace kms::pg {

// Code of the owner's may have dropped it, or its schema.
const char* quoted_name(Oid table) {
    const char* name = get_rel_name(table);
    const char* schema = get_namespace_name(get_rel_namespace(table));
    if (name == nullptr || schema == nullptr) {
        raise_changed(table);
    }
    return quote_qualified_identifier(schema, name);
}

// What others have renamed is not heard of until a lock is waited for, or somebody asks.
void run_table_change(const TableChange& change) {
    run_owners_code(owner_of(change.table), [&] {
        AcceptInvalidationMessages();
        run_command(psprintf("%s%s%s", change.before, quoted_name(change.table), change.after));
    });
}

void raise_changed(Oid table) {
    const char* name = get_rel_name(table);
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("table \"%s\" was changed meanwhile", name != nullptr ? name : "(dropped)"),
             errdetail("A schema, column or partition has been renamed, added or taken away, by "
                       "another session or by code of the table's owner."),
             errhint("Call it again.")));
    pg_unreachable();
}

}  // namespace kms::pg
