// rotate_kek: a new version of a KEK at the agent, and every data key that it wraps brought to it.
#include "pg/keys/administer.hpp"
#include "pg/keys/data_key_batches.hpp"
#include "pg/keys/kek_versions.hpp"
#include "pg/keys/rewrap_data_keys.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_key_writer.hpp"

namespace kms::pg {
namespace {

// As far as the agent says: what it does not tell, it may refuse when it is asked for more.
bool is_said_to_seal(const KeyUse& use) {
    bool seals = false;
    administer(use, [&](Line line) -> Status {
        if (line.agent.offers(wire::verb::describe)) {
            const auto described = describe_key(line, use.identifier);
            seals = described && described->uses.purpose == wire::purpose_word(wire::Purpose::seal);
        }
        return {};
    });
    return seals;
}

// A new version of a key that seals would be used from then on, unseen by what kms.rotate_key()
// looks at.
void require_kek(const KeyUse& use) {
    if (is_said_to_seal(use) && count_data_keys(use.identifier) == 0) {
        ereport(ERROR, (errcode(sqlstate::denied),
                        errmsg("could not rotate KEK \"%s\": it is a key that seals values",
                               shown_identifier(use.identifier)),
                        errhint("kms.rotate_key() rotates it.")));
    }
}

}  // namespace

KMS_FUNCTION(kms_rotate_kek) {
    require_own_data_keys("kms.rotate_kek()");
    const KeyUse kek = use_of_identifier("rotate key", required_identifier(fcinfo, 0, "kek"));
    lock_kek(kek.identifier);
    require_kek(kek);
    require_rewrappable(kek);
    const std::uint32_t version = rotate_kek_at_agent(kek);
    if (rewrap_data_keys(kek, version) == 0) {
        ereport(NOTICE,
                (errmsg("version %u of \"%s\" is made, and no data key is wrapped by the key",
                        version, shown_identifier(kek.identifier))));
    }
    return UInt32GetDatum(version);
}

}  // namespace kms::pg
