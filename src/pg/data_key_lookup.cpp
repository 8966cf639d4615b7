#include "pg/data_key_lookup.hpp"

#include "pg/change_lock.hpp"
#include "pg/data_key_writer.hpp"
#include "pg/key_arguments.hpp"
#include "pg/sqlstates.hpp"

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

DataKeyVersion lock_newest_version(const char* action, ByteView name) {
    share_kek(newest_version(action, name).kek);
    lock_data_key(name);
    return newest_version(action, name);
}

DataKeyVersion lock_version(const char* action, ByteView name, std::uint32_t version) {
    share_kek(version_of(action, name, version).kek);
    lock_data_key(name);
    return version_of(action, name, version);
}

}  // namespace kms::pg
