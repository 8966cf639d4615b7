#include "pg/stored/data_key_lookup.hpp"

#include <algorithm>

#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_key_writer.hpp"

namespace kms::pg {
namespace {

[[noreturn]] void raise_no_data_key(const char* action, ByteView name) {
    ereport(ERROR,
            (errcode(sqlstate::not_found),
             errmsg("could not %s \"%s\": no such data key", action, shown_identifier(name)),
             errhint("The view kms.data_keys shows them, and kms.create_data_key() makes one.")));
    pg_unreachable();
}

}  // namespace

DataKeyVersion newest_version(const char* action, ByteView name) {
    const DataKeyVersion* newest = read_data_key(name).newest();
    if (newest == nullptr) {
        raise_no_data_key(action, name);
    }
    return *newest;
}

DataKeyVersion version_of(const char* action, ByteView name, std::uint32_t version) {
    for (const DataKeyVersion& key : read_data_key(name).versions) {
        if (key.version == version) {
            return key;
        }
    }
    raise_no_data_key(psprintf("%s version %u of", action, version), name);
}

void require_same_kek(const char* action, ByteView name, ByteView before, ByteView now) {
    if (!std::ranges::equal(before, now)) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("could not %s \"%s\": it is under another KEK by now", action,
                               shown_identifier(name)),
                        errhint("Call it again.")));
    }
}

// What is locked is its KEK as it was read before the wait.
DataKeyVersion lock_newest_version(const char* action, ByteView name) {
    const DataKeyVersion before = newest_version(action, name);
    share_kek(before.kek);
    lock_data_key(name);
    const DataKeyVersion newest = newest_version(action, name);
    require_same_kek(action, name, before.kek, newest.kek);
    return newest;
}

DataKeyVersion lock_version(const char* action, ByteView name, std::uint32_t version) {
    const DataKeyVersion before = version_of(action, name, version);
    share_kek(before.kek);
    lock_data_key(name);
    const DataKeyVersion key = version_of(action, name, version);
    require_same_kek(action, name, before.kek, key.kek);
    return key;
}

}  // namespace kms::pg
