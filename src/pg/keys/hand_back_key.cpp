// hand_back_key: a data key of the database becomes a key of the agent again. What the agent has
// imported is not undone by ROLLBACK.
#include <chrono>

#include "pg/keys/administer.hpp"
#include "pg/keys/kek_retirement.hpp"
#include "pg/keys/key_move.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/session/envelope.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_key_lookup.hpp"
#include "pg/stored/data_key_writer.hpp"

namespace kms::pg {
namespace {

using wire::VersionState;

const char* shown_state(VersionState state) {
    return pnstrdup(wire::state_word(state).data(), wire::state_word(state).size());
}

// The agent would keep what a ROLLBACK takes back, under a number that is given again.
void require_committed(const KeyMove& move) {
    for (const DataKeyVersion& stored : move.stored) {
        if (TransactionIdIsCurrentTransactionId(stored.written_by)) {
            refuse_move(move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                        psprintf("its version %u was changed by this transaction", stored.version),
                        "Commit first.");
        }
    }
}

void require_same_versions(const KeyMove& move) {
    require_same_key(move);
    for (const ListedVersion& listed : move.listed) {
        const DataKeyVersion* stored = with_number(move.stored, listed.version);
        if (stored == nullptr) {
            refuse_move(
                move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                psprintf("the agent has a version %u that the database has not", listed.version),
                "Adopt it first with kms.adopt_key().");
        }
        if (stored->state != listed.state) {
            refuse_move(
                move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                psprintf("its version %u is %s here, and %s at the agent", listed.version,
                         shown_state(stored->state), shown_state(listed.state)),
                listed.state == VersionState::destroyed
                    ? "What the agent has destroyed never comes back to it: the data key stays "
                      "in the database."
                    : "Bring the agent's to the state of here, with kms.enable_key(), "
                      "kms.disable_key() or, where no other database and no remote mode needs it, "
                      "and nothing here, since it may be the only copy, kms.destroy_key().");
        }
    }
}

Result<SecretBytes> unwrapped(Line line, ByteView name, const DataKeyVersion& version) {
    if (version.state == VersionState::destroyed) {
        return SecretBytes();
    }
    KMS_ASSIGN(FetchedKey fetched, unwrap_version(line, name, version));
    return std::move(fetched.key);
}

void import_at_agent(const KeyMove& move, const DataKeyVersion& version) {
    const KeyUse use =
        use_of_identifier(psprintf("%s version %u of", move.action, version.version), move.name);
    const std::chrono::microseconds created = since_1970(version.created);
    administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const SecretBytes key, unwrapped(line, move.name, version));
        const wire::ListedVersion as_listed{
            std::string(text_of(move.name)),
            version.version,
            std::string(version.algorithm),
            version.tag,
            version.state,
            std::chrono::floor<std::chrono::seconds>(created).count()};
        return import_version(line, as_listed, key.view());
    });
}

// What the agent lists is seen to be there before the database lets go of it.
void require_given(const KeyMove& move, const DataKeyVersion& version) {
    const KeyUse use =
        use_of_identifier(psprintf("%s version %u of", move.action, version.version), move.name);
    ask(use, [&](Session&, Line line) -> Status {
        KMS_TRY(get_key(line, move.name, version.tag));
        return {};
    });
}

// What is disabled or destroyed cannot be fetched: the agent lists it.
void require_all_there(const KeyMove& move) {
    const ListedVersions listed = list_of_key(move.action, move.name);
    for (const DataKeyVersion& version : move.stored) {
        const ListedVersion* there = with_number(listed, version.version);
        if (there == nullptr || there->tag != version.tag || there->state != version.state) {
            refuse_move(
                move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                psprintf("the agent does not list its version %u as it is here", version.version),
                "Call it again.");
        }
        if (version.state == VersionState::enabled) {
            require_given(move, version);
        }
    }
}

// The KEK versions that have wrapped them, and those that may have in what was rolled back.
const char* shown_wrappings(const KeyMove& move) {
    StringInfoData keks;
    initStringInfo(&keks);
    for (const DataKeyVersion& each : move.stored) {
        appendStringInfo(&keks, "%sversion %u by %s of the KEK \"%s\", or a later one",
                         keks.len == 0 ? "" : "; ", each.version,
                         shown_range({each.kek_version_first, each.kek_version_last}),
                         shown_identifier(each.kek));
    }
    return keks.data;
}

// Who destroys the key at the agent some day does not reach these.
void notice_backups(const KeyMove& move) {
    ereport(
        NOTICE,
        (errmsg("data key \"%s\" is at the agent now", shown_identifier(move.name)),
         errdetail("Backups, WAL, dead tuples and replicas may hold it, for as long as what has "
                   "wrapped it lives: %s.",
                   shown_wrappings(move)),
         errhint("Back up the agent's keys, and bring them to the agents of standbys and "
                 "subscribers: their databases have the key no more.")));
}

// Before anything is imported that would stay.
void require_verbs(const KeyMove& move) {
    const KeyUse use = use_of_identifier(move.action, move.name);
    ask(use, [&](Session&, Line line) -> Status {
        KMS_TRY(line.agent.require(wire::verb::get));
        return line.agent.require(wire::verb::import);
    });
}

std::size_t hand_back(const KeyMove& move) {
    require_committed(move);
    require_same_versions(move);
    require_verbs(move);
    std::size_t imported = 0;
    for (const DataKeyVersion& version : move.stored) {
        if (with_number(move.listed, version.version) == nullptr) {
            import_at_agent(move, version);
            ++imported;
        }
    }
    require_all_there(move);
    delete_data_key(move.name, move.stored.size());
    notice_backups(move);
    return imported;
}

}  // namespace

KMS_FUNCTION(kms_hand_back_key) {
    require_own_data_keys("kms.hand_back_key()");
    const ByteView name = required_identifier(fcinfo, 0, "name");
    share_kek(newest_version("hand back data key", name).kek);
    lock_name(name, KeyPlace::both);
    (void)lock_newest_version("hand back data key", name);
    const ListedVersions listed = list_of_key("hand back data key", name);
    const std::size_t imported =
        hand_back({"hand back data key", name, read_data_key(name).versions, listed});
    return UInt32GetDatum(static_cast<std::uint32_t>(imported));
}

}  // namespace kms::pg
