#include "pg/tables/owner.hpp"

#include "pg/server/sqlstates.hpp"

namespace kms::pg {
namespace {

void hint_at_bindings() {
    if (geterrcode() == sqlstate::not_bound) {
        errhint(
            "Where what the owner of a table has written runs for somebody else, no key is bound: "
            "name it, with kms.encode_with() say, or give its function SET kms.keys = '...'.");
    }
}

void hint_for_callers_path(void* /*argument*/) {
    hint_at_bindings();
}

// The name may be one of the caller's search_path.
void hint_at_search_path(void* /*argument*/) {
    hint_at_bindings();
    const int code = geterrcode();
    if (code == ERRCODE_UNDEFINED_TABLE || code == ERRCODE_UNDEFINED_FUNCTION ||
        code == ERRCODE_UNDEFINED_OBJECT) {
        errhint(
            "What the owner of a table has written runs with search_path = pg_catalog, pg_temp "
            "here: name things with their schemas, or give its functions SET search_path = x, "
            "pg_temp.");
    }
}

// Of owners' code that is running, one inside the other.
int depth = 0;
object_access_hook_type hook_of_before = nullptr;

// What has just been made is seen by no other snapshot yet.
Oid namespace_of_new(Oid catalog_id, Oid object) {
    const AttrNumber column = is_objectclass_supported(catalog_id)
                                  ? get_object_attnum_namespace(catalog_id)
                                  : AttrNumber{InvalidAttrNumber};
    if (column == InvalidAttrNumber) {
        return InvalidOid;
    }
    const Relation catalog = table_open(catalog_id, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, get_object_attnum_oid(catalog_id), BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(object));
    SysScanDesc scan =
        systable_beginscan(catalog, get_object_oid_index(catalog_id), true, SnapshotSelf, 1, &key);
    bool is_null = true;
    const HeapTuple tuple = systable_getnext(scan);
    const Datum name = HeapTupleIsValid(tuple)
                           ? heap_getattr(tuple, column, RelationGetDescr(catalog), &is_null)
                           : Datum{0};
    const Oid found = is_null ? InvalidOid : DatumGetObjectId(name);
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    return found;
}

// It would stay in the session, where the caller may name it: PostgreSQL refuses temporary tables,
// and not functions.
void at_object_access(ObjectAccessType access, Oid catalog, Oid object, int part, void* argument) {
    if (hook_of_before != nullptr) {
        hook_of_before(access, catalog, object, part, argument);
    }
    if (depth != 0 && access == OAT_POST_CREATE && part == 0 &&
        isAnyTempNamespace(namespace_of_new(catalog, object))) {
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("cannot create anything in pg_temp where the code of a table's owner "
                        "runs for somebody else")));
    }
}

}  // namespace

void set_meanwhile(const char* setting, const char* value) {
    (void)set_config_option(setting, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
                            false);
}

// Without a lock: whoever asks may hold one on a partition, and others take that of the table
// first.
Oid owner_of(Oid table) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
    if (!HeapTupleIsValid(tuple)) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("relation with OID %u does not exist", table)));
    }
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

bool caller_owns(Oid table) {
    return has_privs_of_role(GetUserId(), owner_of(table));
}

void require_owner(Oid table) {
    if (!caller_owns(table)) {
        aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(table));
    }
}

int fix_search_path() {
    const int level = NewGUCNestLevel();
    set_meanwhile("search_path", "pg_catalog, pg_temp");
    return level;
}

void run_command(const char* command) {
    if (SPI_execute(command, false, 0) < 0) {
        elog(ERROR, "could not run %s", command);
    }
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

void enter_owners_code(OwnersCode& code, Oid role, SearchPath path) {
    GetUserIdAndSecContext(&code.caller.role, &code.caller.security);
    code.outer = error_context_stack;
    const bool is_safe = path == SearchPath::safe;
    code.caller.settings = is_safe ? fix_search_path() : NewGUCNestLevel();
    code.hint = {code.outer, is_safe ? hint_at_search_path : hint_for_callers_path, nullptr};
    error_context_stack = &code.hint;
    set_meanwhile("kms.keys", "");
    code.portals = shut_portals();
    ++depth;
    SetUserIdAndSecContext(role, code.caller.security | SECURITY_RESTRICTED_OPERATION);
}

void leave_owners_code(const OwnersCode& code) {
    abandon_owners_code(code);
    error_context_stack = code.outer;
    act_as(code.caller);
}

void abandon_owners_code(const OwnersCode& code) {
    --depth;
    put_back_portals(code.portals);
}

void watch_owners_code() {
    hook_of_before = object_access_hook;
    object_access_hook = at_object_access;
}

}  // namespace kms::pg
