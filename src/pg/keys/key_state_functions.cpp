// The states of a version at the agent: enable_key, disable_key, destroy_key. What the agent does
// is not undone by ROLLBACK.
#include "pg/keys/administer.hpp"
#include "pg/keys/kek_retirement.hpp"
#include "pg/keys/name_at_agent.hpp"
#include "pg/keys/outlasting.hpp"
#include "pg/keys/retirement.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/server/transaction.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {
namespace {

void change(const KeyUse& use, std::uint32_t version, std::string_view verb) {
    administer(use, [&](Line line) { return change_version(line, verb, use.identifier, version); });
}

bool is_data_key(const KeyUse& use) {
    return has_data_keys() && read_data_key(use.identifier).newest() != nullptr;
}

const char* why_unlisted(const KeyUse& use) {
    return is_data_key(use)
               ? "A data key of this database has the name: kms.disable_data_key() and "
                 "kms.destroy_data_key() retire its versions."
               : "The agent lists no such version.";
}

// What the agent says of the version that is to be retired; nullptr: it is destroyed. KM002 for one
// that is not listed: nothing of it could be counted.
const ListedVersion* version_to_retire(const KeyUse& use, std::uint32_t version) {
    ListedVersions versions;
    const Failure failure = list_versions_of_key(use, versions);
    if (failure) {
        raise_unlisted(use, failure);
    }
    const ListedVersion* listed = listed_version(versions, version);
    if (listed == nullptr) {
        raise_error(use.subject(), Code::not_found, why_unlisted(use));
    }
    return listed->state != wire::VersionState::destroyed ? listed : nullptr;
}

void require_disabled(const KeyUse& use, const ListedVersion& listed) {
    if (listed.state != wire::VersionState::disabled) {
        ereport(
            ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("could not destroy key \"%s\": its version %u is not disabled",
                    shown_identifier(use.identifier), listed.version),
             errdetail("Values may be sealed under it while their rows are counted."),
             errhint(
                 "Disable it first with kms.disable_key(), which tells of rows that need it.")));
    }
}

void notice_adopted(const KeyUse& use, std::uint32_t version) {
    ereport(NOTICE,
            (errmsg("version %u of \"%s\" is in the database alone now", version,
                    shown_identifier(use.identifier)),
             errdetail("Backups and standbys of a time before it was adopted do not have it, and "
                       "nor has remote mode, or any other database.")));
}

// A restored or copied database has the data keys of the first, under the same KEK.
void notice_other_databases(const KeyUse& use, const ListedVersion& listed) {
    if (listed.purpose == wire::purpose_word(wire::Purpose::wrap)) {
        ereport(NOTICE,
                (errmsg("data keys of other databases, and secrets of kms.wrap(), that version %u "
                        "of \"%s\" has wrapped are not looked at",
                        listed.version, shown_identifier(use.identifier)),
                 errdetail("A database that was restored from a dump of this one, or copied, "
                           "shares its KEKs.")));
    }
}

// Elsewhere than here it may have been enabled while rows were counted.
const ListedVersion* require_still_disabled(const KeyUse& use, std::uint32_t version) {
    const ListedVersion* listed = version_to_retire(use, version);
    if (listed != nullptr) {
        require_disabled(use, *listed);
    }
    return listed;
}

// Rows are counted twice, so that who waits does not do so in vain. Who may have a row in flight is
// waited for where there is none yet, too. False: the agent lists it as destroyed, and is not
// asked: a list that is wrong must not destroy what was not counted.
bool may_be_destroyed(const KeyUse& use, std::uint32_t version) {
    require_nothing_undone("kms.destroy_key()");
    const ListedVersion* listed = version_to_retire(use, version);
    if (listed == nullptr) {
        return false;
    }
    require_disabled(use, *listed);
    notice_other_databases(use, *listed);
    if (is_adopted(use, *listed)) {
        refuse_if_wrapping(use, version);
        notice_adopted(use, version);
        return true;
    }
    refuse_if_uncountable(use.action, use.identifier, version, listed->algorithm);
    without_keeping_locks([&] {
        refuse_if_needed(use.action, use.identifier, version, listed->tag);
        refuse_if_wrapping(use, version);  // behind a lock
    });
    if (listed->exportable.value_or(true)) {
        outlast_caches(use.identifier, version);
    }
    const Past past = outlast_rows(use.action, use.identifier, version, listed->tag);
    refuse_if_wrapping(use, version);
    lock_name(use.identifier, KeyPlace::both);  // nobody enables it here
    const ListedVersion* still = version_to_retire(use, version);
    if (still != nullptr) {
        require_disabled(use, *still);  // somebody may have enabled it meanwhile, or adopted it
        if (is_adopted(use, *still)) {
            notice_adopted(use, version);
        } else {
            refuse_if_needed_behind_lock(use.action, use.identifier, version, still->tag, past);
            still = require_still_disabled(use, version);
        }
    }
    UnregisterSnapshot(past.snapshot);
    return still != nullptr;
}

// What it has is behind what the primary has.
void refuse_on_standby(const KeyUse& use) {
    if (RecoveryInProgress()) {
        ereport(ERROR,
                (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
                 errmsg("could not %s \"%s\": this is a standby", use.action,
                        shown_identifier(use.identifier)),
                 errdetail("Rows that need the version may be on the primary, and not here yet."),
                 errhint("Call it on the primary.")));
    }
}

// Until it is destroyed, whether rows are under it or not.
void warn_of_searches(const KeyUse& use, const ListedVersion& listed) {
    const auto algorithm = algorithm_named(listed.algorithm);
    if (algorithm && info_of(*algorithm).is_deterministic()) {
        ereport(WARNING,
                (errmsg("kms.encode_all() refuses searches under \"%s\" while version %u is "
                        "disabled",
                        shown_identifier(use.identifier), listed.version),
                 errdetail("They would not find rows of it."),
                 errhint("Where none is left, let the application say skip_disabled => true until "
                         "the version is destroyed.")));
    }
}

void refuse_disabling_if_needed(const KeyUse& use, std::uint32_t version) {
    refuse_on_standby(use);
    const ListedVersion* listed = version_to_retire(use, version);
    if (listed == nullptr) {
        raise_error(use.subject(), Code::disabled, psprintf("version %u is destroyed", version));
    }
    if (is_adopted(use, *listed)) {
        refuse_if_wrapping(use, version);
        return;
    }
    notice_other_databases(use, *listed);
    refuse_if_uncountable(use.action, use.identifier, version, listed->algorithm);
    without_keeping_locks(
        [&] { refuse_if_needed(use.action, use.identifier, version, listed->tag); });
    refuse_if_wrapping(use, version);
    require_nothing_changed("kms.disable_key()");
    refuse_if_needed_behind_lock(use.action, use.identifier, version, listed->tag);
    warn_of_searches(use, *listed);
}

// The version that has taken the place of one that sessions may have fetched; nullptr: there is
// none.
const ListedVersion* successor(ListedVersions listed, std::uint32_t version) {
    const ListedVersion* old = listed_version(listed, version);
    const ListedVersion* newest = newest_listed(listed);
    const bool may_be_held = old != nullptr && old->state == wire::VersionState::enabled &&
                             old->exportable.value_or(true);
    return may_be_held && newest != old ? newest : nullptr;
}

// Who holds a version as the current one seals under it until its time is over, though a newer one
// has been made.
void warn_of_those_who_seal(const KeyUse& use, std::uint32_t version) {
    if (mode() != Mode::local || is_data_key(use) || !may_be_needed()) {
        return;
    }
    const ListedVersion* newer = successor(try_list_versions(use.identifier), version);
    if (newer == nullptr) {
        return;
    }
    const bool has_end = cache_ttl().count() != 0;
    const auto age =
        std::chrono::microseconds(GetCurrentTimestamp() - timestamp_of(newer->created));
    if (!has_end || age < cache_ttl()) {
        ereport(
            WARNING,
            (errmsg("sessions may still seal under version %u of \"%s\"", version,
                    shown_identifier(use.identifier)),
             has_end ? errdetail("Version %u is younger than kms.cache_ttl, for which a session "
                                 "holds what it has fetched.",
                                 newer->version)
                     : errdetail("By kms.cache_ttl a session holds what it has fetched until it "
                                 "ends."),
             errhint("Such rows do not open. When that time is over, enable the version with "
                     "kms.enable_key(), CALL kms.reencrypt(), and disable it again.")));
    }
}

}  // namespace

KMS_FUNCTION(kms_enable_key) {
    require_not_read_only("kms.enable_key()");
    const KeyUse use = use_of_identifier("enable key", required_identifier(fcinfo, 0));
    lock_name(use.identifier,
              KeyPlace::agent);  // nobody is destroying it, who has counted its rows
    change(use, version_argument(fcinfo, 1), wire::verb::enable);
    PG_RETURN_VOID();
}

KMS_FUNCTION(kms_disable_key) {
    require_not_read_only("kms.disable_key()");
    const KeyUse use = use_of_identifier("disable key", required_identifier(fcinfo, 0));
    const std::uint32_t version = version_argument(fcinfo, 1);
    if (!required_bool(fcinfo, 2, "force")) {
        refuse_disabling_if_needed(use, version);
        warn_of_those_who_seal(use, version);
    }
    change(use, version, wire::verb::disable);
    PG_RETURN_VOID();
}

KMS_FUNCTION(kms_destroy_key) {
    require_not_read_only("kms.destroy_key()");
    const KeyUse use = use_of_identifier("destroy key", required_identifier(fcinfo, 0));
    const std::uint32_t version = version_argument(fcinfo, 1);
    if (!required_bool(fcinfo, 2, "force") && !may_be_destroyed(use, version)) {
        PG_RETURN_VOID();
    }
    make_commits_durable();
    change(use, version, wire::verb::destroy);
    PG_RETURN_VOID();
}

}  // namespace kms::pg
