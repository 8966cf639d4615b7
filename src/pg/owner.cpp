#include "pg/owner.hpp"

namespace kms::pg {
namespace {

Oid owner_of(Oid table) {
    const Relation relation = table_open(table, AccessShareLock);
    const Oid owner = relation->rd_rel->relowner;
    table_close(relation, AccessShareLock);
    return owner;
}

}  // namespace

int fix_search_path() {
    const int level = NewGUCNestLevel();
    (void)set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
                            GUC_ACTION_SAVE, true, 0, false);
    return level;
}

Caller act_as_owner_of(Oid table) {
    Caller caller;
    GetUserIdAndSecContext(&caller.role, &caller.security);
    caller.settings = fix_search_path();
    SetUserIdAndSecContext(owner_of(table), caller.security | SECURITY_LOCAL_USERID_CHANGE);
    return caller;
}

std::uint64_t change_as_owner(const Change& change) {
    const Caller caller = act_as_owner_of(change.table);
    SPI_connect();
    const SPIPlanPtr plan = SPI_prepare(change.statement, change.parameters, change.types);
    if (plan == nullptr ||
        SPI_execute_snapshot(plan, change.values, change.nulls, GetLatestSnapshot(),
                             InvalidSnapshot, false, true, 0) < 0) {
        elog(ERROR, "could not change %s", get_rel_name(change.table));
    }
    const std::uint64_t count = SPI_processed;
    SPI_finish();
    act_as(caller);
    return count;
}

void act_as(const Caller& caller) {
    SetUserIdAndSecContext(caller.role, caller.security);
    AtEOXact_GUC(false, caller.settings);
}

}  // namespace kms::pg
