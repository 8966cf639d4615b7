// adopt_key: a key of the agent becomes a data key of the database, version by version, so that
// what was sealed before opens as before. hand_back_key: the way back. What the agent has imported
// is not undone by ROLLBACK.
#include <algorithm>

#include "client/new_data_key.hpp"
#include "pg/change_lock.hpp"
#include "pg/collected.hpp"
#include "pg/data_key_lookup.hpp"
#include "pg/data_key_writer.hpp"
#include "pg/envelope.hpp"
#include "pg/kek_retirement.hpp"
#include "pg/key_arguments.hpp"
#include "pg/listed_versions.hpp"
#include "pg/sqlstates.hpp"

namespace kms::pg {
namespace {

using wire::VersionState;

const char* shown_state(VersionState state) {
    return pnstrdup(wire::state_word(state).data(), wire::state_word(state).size());
}

// What a move is about: the same name in both places.
struct Move {
    const char* action;
    ByteView name;
    std::span<const DataKeyVersion> stored;
    ListedVersions listed;

    Subject subject() const { return {action, 0, name}; }
};

[[noreturn]] void refuse(const Move& move, int sqlstate, const char* why, const char* hint) {
    ereport(ERROR,
            (errcode(sqlstate),
             errmsg("could not %s \"%s\": %s", move.action, shown_identifier(move.name), why),
             hint != nullptr ? errhint("%s", hint) : 0));
    pg_unreachable();
}

ListedVersions list_or_raise(const char* action, ByteView name) {
    ListedVersions listed;
    if (const Failure failure = list_versions_of_key(use_of_identifier(action, name), listed)) {
        raise(failure);
    }
    return listed;
}

// nullptr: there is none of this number.
template <typename Version>
const Version* of_number(std::span<const Version> versions, std::uint32_t number) {
    const auto found = std::ranges::find(versions, number, &Version::version);
    return found != versions.end() ? &*found : nullptr;
}

// A name may stand in both places only for one key.
void require_same_key(const Move& move) {
    for (const ListedVersion& listed : move.listed) {
        const DataKeyVersion* stored = of_number(move.stored, listed.version);
        if (stored != nullptr && stored->tag != listed.tag) {
            refuse(
                move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                psprintf("version %u of the data key and of the agent's key are not the same key",
                         listed.version),
                "Two keys have this name. Bring the rows of one of them to a third key with CALL "
                "kms.reencrypt(), and retire it.");
        }
    }
}

// --- adopt_key

void require_may_leave(const Move& move) {
    if (move.listed.empty()) {
        raise_error(move.subject(), Code::not_found, "The agent has no key of this name.");
    }
    const ListedVersion& any = move.listed.front();
    if (any.purpose == wire::purpose_word(wire::Purpose::wrap)) {
        refuse(move, sqlstate::denied, "it is a KEK, which never leaves the agent", nullptr);
    }
    if (!any.exportable.value_or(true)) {
        refuse(move, sqlstate::denied, "it does not leave the agent (no-export)",
               "Make a data key with kms.create_data_key(), and bring the rows to it with CALL "
               "kms.reencrypt().");
    }
}

// Nobody could tell whose the values under it are.
void require_of_no_other_name(const Move& move, const ListedVersion& listed) {
    const DataKeyRow* row = find_data_key(listed.tag);
    if (row != nullptr) {
        refuse(move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
               psprintf("version %u is the same key as version %u of data key \"%s\"",
                        listed.version, row->key.version, shown_identifier(row->name)),
               nullptr);
    }
}

Algorithm known_algorithm(const Move& move, const ListedVersion& listed) {
    const auto algorithm = algorithm_named(listed.algorithm);
    if (!algorithm) {
        raise_error(move.subject(), Code::unsupported, "Its algorithm is not known here.");
    }
    return *algorithm;
}

Status check_same_version(const FetchedKey& fetched, const ListedVersion& listed,
                          Algorithm algorithm) {
    if (fetched.version != listed.version || fetched.algorithm != algorithm) {
        return Error{Code::protocol, "the key agent gives another version than it lists"};
    }
    return {};
}

// The agent gives the version, and its KEK wraps it.
WrappedForm wrap_fetched(const Move& move, ByteView kek, const ListedVersion& listed,
                         Algorithm algorithm) {
    const KeyUse use =
        use_of_identifier(psprintf("%s version %u of", move.action, listed.version), move.name);
    Session& session = pg::session();
    std::uint32_t kek_version = 0;
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        KMS_ASSIGN(const FetchedKey fetched, get_key(line, move.name, listed.tag));
        KMS_TRY(check_same_version(fetched, listed, algorithm));
        KMS_ASSIGN(NewDataKey made, wrap_data_key(line, kek, {move.name, listed.version, algorithm},
                                                  fetched.key.view()));
        kek_version = made.wrapped.version;
        session.reply = std::move(made.wrapped.bytes);
        return {};
    });
    finish(session, failure);
    return {kek_version, copy_of(session.reply.view())};
}

// It may have been a data key before, of which nothing is left here.
constexpr std::uint32_t first_kek_version = 1;

void add_adopted(const Move& move, ByteView kek, const ListedVersion& listed,
                 const WrappedForm& wrapped) {
    const DataKeyId id{move.name, listed.version, known_algorithm(move, listed)};
    if (!insert_data_key({kek, id, listed.tag, wrapped, first_kek_version, listed.state,
                          timestamp_of(listed.created)})) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("rows of kms.data_key have changed meanwhile")));
    }
}

// Of destroyed versions there is no more than the number and the tag, which shall not come again.
// `kek_version`: one that the KEK had by now.
void add_destroyed(const Move& move, ByteView kek, std::uint32_t kek_version,
                   std::span<const ListedVersion> missing) {
    for (const ListedVersion& listed : missing) {
        if (listed.state == VersionState::destroyed) {
            add_adopted(move, kek, listed, {kek_version, {}});
        }
    }
}

// The KEK version that has wrapped the last of them; 0: none was wrapped.
std::uint32_t add_living(const Move& move, ByteView kek, std::span<const ListedVersion> missing) {
    std::uint32_t kek_version = 0;
    for (const ListedVersion& listed : missing) {
        if (listed.state != VersionState::destroyed) {
            const WrappedForm wrapped =
                wrap_fetched(move, kek, listed, known_algorithm(move, listed));
            add_adopted(move, kek, listed, wrapped);
            kek_version = wrapped.kek_version;
        }
    }
    return kek_version;
}

std::span<const ListedVersion> not_stored(const Move& move) {
    Collected<ListedVersion> missing;
    for (const ListedVersion& listed : move.listed) {
        if (of_number(move.stored, listed.version) == nullptr) {
            require_of_no_other_name(move, listed);
            missing.add(listed);
        }
    }
    return missing.all();
}

bool lists_the_same(const ListedVersion& one, const ListedVersion& other) {
    return one.version == other.version && one.tag == other.tag && one.state == other.state;
}

// What the agent has destroyed or disabled meanwhile would live on here.
void require_as_listed(const Move& move) {
    if (!std::ranges::equal(move.listed, list_or_raise(move.action, move.name), lists_the_same)) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("the agent's key \"%s\" was changed meanwhile",
                               shown_identifier(move.name)),
                        errhint("Call it again.")));
    }
}

std::size_t adopt(const Move& move, ByteView kek) {
    require_may_leave(move);
    require_same_key(move);
    const std::span<const ListedVersion> missing = not_stored(move);
    const std::uint32_t kek_version = add_living(move, kek, missing);
    if (kek_version != 0) {
        add_destroyed(move, kek, kek_version, missing);
    } else if (!move.stored.empty()) {
        const DataKeyVersion& newest = move.stored.back();
        add_destroyed(move, newest.kek, newest.kek_version_last, missing);
    } else {
        raise_error(move.subject(), Code::disabled, "All of its versions are destroyed.");
    }
    require_as_listed(move);
    return missing.size();
}

// --- hand_back_key

// The agent would keep what a ROLLBACK takes back, under a number that is given again.
void require_committed(const Move& move) {
    for (const DataKeyVersion& stored : move.stored) {
        if (TransactionIdIsCurrentTransactionId(stored.written_by)) {
            refuse(move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   psprintf("its version %u was changed by this transaction", stored.version),
                   "Commit first.");
        }
    }
}

void require_same_versions(const Move& move) {
    require_same_key(move);
    for (const ListedVersion& listed : move.listed) {
        const DataKeyVersion* stored = of_number(move.stored, listed.version);
        if (stored == nullptr) {
            refuse(move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   psprintf("the agent has a version %u that the database has not", listed.version),
                   "Adopt it first with kms.adopt_key().");
        }
        if (stored->state != listed.state) {
            refuse(move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                   psprintf("its version %u is %s here, and %s at the agent", listed.version,
                            shown_state(stored->state), shown_state(listed.state)),
                   listed.state == VersionState::destroyed
                       ? "What the agent has destroyed never comes back to it: the data key stays "
                         "in the database."
                       : "Bring the agent's to the state of here, with kms.enable_key(), "
                         "kms.disable_key() or kms.destroy_key().");
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

void import_at_agent(const Move& move, const DataKeyVersion& version) {
    const KeyUse use =
        use_of_identifier(psprintf("%s version %u of", move.action, version.version), move.name);
    const std::chrono::microseconds created = since_1970(version.created);
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        KMS_ASSIGN(const SecretBytes key, unwrapped(line, move.name, version));
        const wire::ListedVersion as_listed{
            std::string(text_of(move.name)),
            version.version,
            std::string(version.algorithm),
            version.tag,
            version.state,
            std::chrono::floor<std::chrono::seconds>(created).count()};
        KMS_TRY(import_version(line, as_listed, key.view()));
        ++session.changes;
        return {};
    });
    finish(session, failure);
}

// What the agent lists is seen to be there before the database lets go of it.
void require_given(const Move& move, const DataKeyVersion& version) {
    const KeyUse use =
        use_of_identifier(psprintf("%s version %u of", move.action, version.version), move.name);
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        KMS_TRY(get_key(line, move.name, version.tag));
        return {};
    });
    finish(session, failure);
}

// What is disabled or destroyed cannot be fetched: the agent lists it.
void require_all_there(const Move& move) {
    const ListedVersions listed = list_or_raise(move.action, move.name);
    for (const DataKeyVersion& version : move.stored) {
        const ListedVersion* there = of_number(listed, version.version);
        if (there == nullptr || there->tag != version.tag || there->state != version.state) {
            refuse(
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
const char* shown_wrappings(const Move& move) {
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
void notice_backups(const Move& move) {
    ereport(
        NOTICE,
        (errmsg("data key \"%s\" is at the agent now", shown_identifier(move.name)),
         errdetail("Backups, WAL, dead tuples and replicas may hold it, for as long as what has "
                   "wrapped it lives: %s.",
                   shown_wrappings(move)),
         errhint("Back up the agent's keys.")));
}

// Before anything is imported that would stay.
void require_verbs(const Move& move) {
    const KeyUse use = use_of_identifier(move.action, move.name);
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        for (const std::string_view verb : {wire::verb::get, wire::verb::import}) {
            if (!line.agent.offers(verb)) {
                return Error{Code::unsupported,
                             "the key agent does not offer " + std::string(verb)};
            }
        }
        return {};
    });
    finish(session, failure);
}

std::size_t hand_back(const Move& move) {
    require_committed(move);
    require_same_versions(move);
    require_verbs(move);
    std::size_t imported = 0;
    for (const DataKeyVersion& version : move.stored) {
        if (of_number(move.listed, version.version) == nullptr) {
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

KMS_FUNCTION(kms_adopt_key) {
    require_own_data_keys("kms.adopt_key()");
    const ByteView name = required_identifier(fcinfo, 0, "name");
    const ByteView kek = required_identifier(fcinfo, 1, "kek");
    share_kek(kek);
    lock_name(name, KeyPlace::both);
    lock_data_key(name);
    const ListedVersions listed = list_or_raise("adopt key", name);
    const std::size_t adopted =
        adopt({"adopt key", name, read_data_key(name).versions, listed}, kek);
    return UInt32GetDatum(static_cast<std::uint32_t>(adopted));
}

KMS_FUNCTION(kms_hand_back_key) {
    require_own_data_keys("kms.hand_back_key()");
    const ByteView name = required_identifier(fcinfo, 0, "name");
    (void)newest_version("hand back data key", name);
    lock_name(name, KeyPlace::both);
    (void)lock_newest_version("hand back data key", name);
    const ListedVersions listed = list_or_raise("hand back data key", name);
    const std::size_t imported =
        hand_back({"hand back data key", name, read_data_key(name).versions, listed});
    return UInt32GetDatum(static_cast<std::uint32_t>(imported));
}

}  // namespace kms::pg
