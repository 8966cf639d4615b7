// rotate_kek: a new version of a KEK at the agent, and every data key that it wraps brought to it.
#include "pg/administer.hpp"
#include "pg/change_lock.hpp"
#include "pg/data_key_writer.hpp"
#include "pg/kek_versions.hpp"
#include "pg/key_arguments.hpp"
#include "pg/rewrap_data_keys.hpp"

namespace kms::pg {

KMS_FUNCTION(kms_rotate_kek) {
    require_own_data_keys("kms.rotate_kek()");
    const KeyUse kek = use_of_identifier("rotate key", required_identifier(fcinfo, 0, "kek"));
    lock_kek(kek.identifier);
    const std::uint32_t version = rotate_kek_at_agent(kek);
    if (rewrap_data_keys(kek) == 0) {
        ereport(NOTICE,
                (errmsg("no data key is wrapped by \"%s\"", shown_identifier(kek.identifier)),
                 errhint("A key that seals values itself is rotated by kms.rotate_key().")));
    }
    return UInt32GetDatum(version);
}

}  // namespace kms::pg
