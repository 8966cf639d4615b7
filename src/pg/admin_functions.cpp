// Keys at the agent: create_key, rotate_key, enable_key, disable_key, destroy_key, list_keys; and
// generate_key. What the agent does is not undone by ROLLBACK.
#include "base/hex.hpp"
#include "crypto/random.hpp"
#include "pg/administer.hpp"
#include "pg/change_lock.hpp"
#include "pg/data_key_batches.hpp"
#include "pg/data_keys.hpp"
#include "pg/kek_retirement.hpp"
#include "pg/key_arguments.hpp"
#include "pg/listed_versions.hpp"
#include "pg/name_at_agent.hpp"
#include "pg/retirement.hpp"
#include "pg/settings.hpp"
#include "pg/transaction.hpp"
#include "pg/used_versions.hpp"
#include "pg/values.hpp"

namespace kms::pg {
namespace {

ByteView prefix_argument(FunctionCallInfo fcinfo) {
    const ByteView prefix = required_bytes(fcinfo, 0, "prefix");
    if (prefix.size() > max_identifier) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key identifier has at most %zu bytes, and the prefix has %zu",
                               max_identifier, prefix.size())));
    }
    return prefix;
}

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
                (errmsg("data keys of other databases that version %u of \"%s\" has wrapped are "
                        "not looked at",
                        listed.version, shown_identifier(use.identifier)),
                 errdetail("A database that was restored from a dump of this one, or copied, "
                           "shares its KEKs.")));
    }
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
    const ListedVersion* still = version_to_retire(use, version);
    if (still != nullptr) {
        require_disabled(use, *still);  // somebody may have enabled it meanwhile, or adopted it
        if (is_adopted(use, *still)) {
            notice_adopted(use, version);
        } else {
            refuse_if_needed_behind_lock(use.action, use.identifier, version, still->tag, past);
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

void add_row(RowSet& rows, const ListedVersion& listed) {
    Datum values[8] = {identifier_datum(listed.key),
                       Int32GetDatum(static_cast<std::int32_t>(listed.version)),
                       identifier_datum(bytes_of(listed.algorithm)),
                       bytes_datum(listed.tag),
                       text_datum(wire::state_word(listed.state)),
                       TimestampTzGetDatum(timestamp_of(listed.created)),
                       identifier_datum(bytes_of(listed.purpose)),
                       BoolGetDatum(listed.exportable.value_or(false))};
    bool nulls[8] = {};
    nulls[6] = listed.purpose.empty();
    nulls[7] = !listed.exportable.has_value();
    rows.add(values, nulls);
}

wire::Purpose purpose_argument(FunctionCallInfo fcinfo, int index) {
    const auto purpose = wire::parse_purpose(text_of(required_bytes(fcinfo, index, "purpose")));
    if (!purpose) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key is made to seal or to wrap, and for no other purpose"),
                        errhint("purpose => 'seal' is for values and blobs, purpose => 'wrap' for "
                                "KEKs and for kms.wrap().")));
    }
    return *purpose;
}

// NULL: what the purpose has.
bool exportable_argument(FunctionCallInfo fcinfo, int index, wire::Purpose purpose) {
    const bool wraps = purpose == wire::Purpose::wrap;
    const bool exportable = PG_ARGISNULL(index) ? !wraps : PG_GETARG_BOOL(index);
    if (exportable && wraps) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key that wraps never leaves the agent"),
                        errhint("Leave exportable out, or make the key with purpose => 'seal'.")));
    }
    return exportable;
}

// They stay with the version that has wrapped them.
void tell_of_data_keys(ByteView kek) {
    if (const std::size_t count = count_data_keys(kek); count != 0) {
        ereport(NOTICE, (errmsg("data keys that older versions of \"%s\" have wrapped: %zu",
                                shown_identifier(kek), count),
                         errhint("kms.rotate_kek() rotates the key, and wraps them anew.")));
    }
}

int key_bits(FunctionCallInfo fcinfo) {
    const std::int32_t bits = required_int(fcinfo, 0, "bits");
    if (bits != 128 && bits != 192 && bits != 256 && bits != 512) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a key has 128, 192, 256 or 512 bits, not %d", bits)));
    }
    return bits;
}

}  // namespace

KMS_FUNCTION(kms_create_key) {
    require_not_read_only("kms.create_key()");
    const KeyUse use = use_of_identifier("create key", required_identifier(fcinfo, 0));
    lock_name(use.identifier, KeyPlace::agent);
    require_unknown_to_database(use.action, use.identifier, "Choose another name.");
    KeyWish wish;
    wish.algorithm = algorithm_argument(fcinfo, 1);
    wish.purpose = purpose_argument(fcinfo, 3);
    wish.exportable = exportable_argument(fcinfo, 2, wish.purpose);
    wish.after = highest_used_version(use.identifier);
    std::uint32_t version = 0;
    administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const DescribedKey created, create_key(line, use.identifier, wish));
        version = created.version;
        return {};
    });
    warn_if_used_before(use.identifier, version, wish.after);
    warn_of_limit(wish.algorithm);
    PG_RETURN_INT32(static_cast<std::int32_t>(version));
}

KMS_FUNCTION(kms_rotate_key) {
    require_not_read_only("kms.rotate_key()");
    const KeyUse use = use_of_identifier("rotate key", required_identifier(fcinfo, 0));
    lock_name(use.identifier, KeyPlace::agent);
    require_unknown_to_database(use.action, use.identifier,
                                "kms.rotate_data_key() rotates the data key.");
    const std::uint32_t used = highest_used_version(use.identifier);
    std::uint32_t version = 0;
    Algorithm algorithm = default_algorithm;
    administer(use, [&](Line line) -> Status {
        KMS_ASSIGN(const DescribedKey rotated, rotate_key(line, use.identifier, used));
        version = rotated.version;
        algorithm = rotated.algorithm;
        return {};
    });
    warn_if_used_before(use.identifier, version, used);
    warn_of_new_terms(use.identifier, version, algorithm);
    tell_of_data_keys(use.identifier);
    PG_RETURN_INT32(static_cast<std::int32_t>(version));
}

KMS_FUNCTION(kms_enable_key) {
    require_not_read_only("kms.enable_key()");
    const KeyUse use = use_of_identifier("enable key", required_identifier(fcinfo, 0));
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

KMS_FUNCTION(kms_list_keys) {
    const ByteView prefix = prefix_argument(fcinfo);
    const KeyUse use =
        use_of_identifier(prefix.empty() ? "list keys" : "list keys with prefix", prefix);
    ListedVersions versions;
    if (const Failure failure = list_beginning_so(use, versions)) {
        raise(failure);
    }
    RowSet rows(fcinfo);
    for (const ListedVersion& version : versions) {
        add_row(rows, version);
    }
    PG_RETURN_NULL();
}

KMS_FUNCTION(kms_generate_key) {
    const auto bytes = static_cast<std::size_t>(key_bits(fcinfo)) / 8;
    varlena* result = allocate_value(2 * bytes, {"generate a key"});
    const Failure failure = guarded({"generate a key"}, [&]() -> Status {
        SecretBytes key(bytes);
        KMS_TRY(random_secret(key.span()));
        write_hex(key.view(), VARDATA(result));
        return {};
    });
    if (failure) {
        raise(failure);
    }
    PG_RETURN_POINTER(result);
}

}  // namespace kms::pg
