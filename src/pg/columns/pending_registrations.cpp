#include "pg/columns/pending_registrations.hpp"

#include <algorithm>

#include "pg/columns/registry.hpp"
#include "pg/server/transaction.hpp"
#include "pg/tables/inheritance.hpp"

namespace kms::pg {
namespace {

// A table may come to be a part of it: ATTACH PARTITION and INHERIT lock it so.
bool may_get_parts(Oid table) {
    return get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE || !get_rel_relispartition(table);
}

bool is_given_parts(const RegisteredColumn& column) {
    const List* parts = OidIsValid(column.relation) ? find_all_parts(column.relation, NoLock) : NIL;
    for (int i = 0; i < list_length(parts); ++i) {
        const Oid part = list_nth_oid(parts, i);
        if (may_get_parts(part) && is_locked_by_another(part, ShareUpdateExclusiveLock)) {
            return true;
        }
    }
    return false;
}

}  // namespace

bool is_being_registered() {
    return is_locked_by_another(registered_column_table(), ShareLock);
}

bool are_rows_being_registered() {
    return is_being_registered() || std::ranges::any_of(registered_columns(), is_given_parts);
}

}  // namespace kms::pg
