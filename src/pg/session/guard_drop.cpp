// DROP EXTENSION takes wrapped data keys, blobs and registered columns with it, and so do DROP
// SCHEMA ... CASCADE, DROP OWNED, DROP COLUMN and what else drops what the extension depends on.
// None of the commands tells by its name; what is dropped is seen as it goes.
#include "pg/session/guard_drop.hpp"

#include <algorithm>

#include "pg/server/pg.hpp"
#include "pg/server/wall.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

constexpr const char* extension_name = "kms";
constexpr const char* schema_name = "kms";
constexpr const char* guarded_tables[] = {"data_key", "blob", "blob_chunk", "registered_column"};

object_access_hook_type next_hook = nullptr;

bool is_guarded_table(Oid relation) {
    if (get_rel_namespace(relation) != get_namespace_oid(schema_name, true)) {
        return false;
    }
    const char* name = get_rel_name(relation);
    return name != nullptr && std::ranges::any_of(guarded_tables, [&](const char* guarded) {
               return strcmp(guarded, name) == 0;
           });
}

// The tables of a database without the extension are somebody else's.
bool is_guarded(Oid kind, Oid object) {
    const Oid extension = get_extension_oid(extension_name, true);
    return extension != InvalidOid && ((kind == ExtensionRelationId && object == extension) ||
                                       (kind == RelationRelationId && is_guarded_table(object)));
}

// Those of now, and of this transaction. Indexes may be gone already, and the table, which then has
// been looked at before.
std::uint64_t count_rows(const char* name) {
    const Oid oid = get_relname_relid(name, get_namespace_oid(schema_name, false));
    if (oid == InvalidOid) {
        return 0;
    }
    const Relation table = table_open(oid, AccessShareLock);
    SysScanDesc scan = systable_beginscan(table, InvalidOid, false, nullptr, 0, nullptr);
    std::uint64_t rows = 0;
    while (HeapTupleIsValid(systable_getnext(scan))) {
        ++rows;
    }
    systable_endscan(scan);
    table_close(table, AccessShareLock);
    return rows;
}

void refuse_loss() {
    const std::uint64_t keys = count_rows("data_key");
    const std::uint64_t blobs = count_rows("blob");
    const std::uint64_t columns = count_rows("registered_column");
    if (keys + blobs + columns == 0) {
        return;
    }
    ereport(ERROR,
            (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
             errmsg("cannot drop the extension kms or its tables: what they hold would be lost"),
             errdetail("Versions of data keys: " UINT64_FORMAT ", blobs: " UINT64_FORMAT
                       ", registered columns: " UINT64_FORMAT ".",
                       keys, blobs, columns),
             errhint("No value of any schema opens without its data key, and a backup has none "
                     "that was made since. To restore a part, drop or --clean its schema alone. "
                     "A superuser who gives up all of these: SET kms.allow_drop = on.")));
}

void on_access(ObjectAccessType access, Oid kind, Oid object, int column, void* argument) {
    if (next_hook != nullptr) {
        next_hook(access, kind, object, column, argument);
    }
    if (access == OAT_DROP && !allow_drop() && is_guarded(kind, object)) {
        refuse_loss();
    }
}

}  // namespace

void guard_against_drops() {
    next_hook = object_access_hook;
    object_access_hook = on_access;
}

// Before every command that may drop something: so that this library is loaded, and nothing else.
KMS_FUNCTION(kms_guard_drop) {
    if (!CALLED_AS_EVENT_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("kms_internal.guard_drop is an event trigger's function")));
    }
    PG_RETURN_NULL();
}

}  // namespace kms::pg
