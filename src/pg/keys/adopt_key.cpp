// adopt_key: a key of the agent becomes a data key of the database, version by version, so that
// what was sealed before opens as before.
#include "client/calls/new_data_key.hpp"
#include "pg/keys/key_move.hpp"
#include "pg/keys/name_at_agent.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/session/asking.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_key_writer.hpp"

namespace kms::pg {
namespace {

using wire::VersionState;

void require_may_leave(const KeyMove& move) {
    if (move.listed.empty()) {
        raise_error(move.subject(), Code::not_found, "The agent has no key of this name.");
    }
    const ListedVersion& any = move.listed.front();
    if (any.purpose == wire::purpose_word(wire::Purpose::wrap)) {
        refuse_move(move, sqlstate::denied, "it is a KEK, which never leaves the agent", nullptr);
    }
    if (!any.exportable.value_or(true)) {
        refuse_move(
            move, sqlstate::denied, "it does not leave the agent (no-export)",
            "Make a data key with kms.create_data_key(), and bring the rows to it with CALL "
            "kms.reencrypt().");
    }
}

// Nobody could tell whose the values under it are.
void require_of_no_other_name(const KeyMove& move, const ListedVersion& listed) {
    const DataKeyRow* row = find_data_key(listed.tag);
    if (row != nullptr) {
        refuse_move(move, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    psprintf("version %u is the same key as version %u of data key \"%s\"",
                             listed.version, row->key.version, shown_identifier(row->name)),
                    nullptr);
    }
}

Status check_as_listed(const FetchedKey& fetched, const ListedVersion& listed,
                       Algorithm algorithm) {
    if (fetched.version != listed.version || fetched.algorithm != algorithm) {
        return Error{Code::protocol, "the key agent gives another version than it lists"};
    }
    return {};
}

// The agent gives the version, and its KEK wraps it.
WrappedForm wrap_fetched(const KeyMove& move, ByteView kek, const ListedVersion& listed,
                         Algorithm algorithm) {
    const KeyUse use =
        use_of_identifier(psprintf("%s version %u of", move.action, listed.version), move.name);
    std::uint32_t kek_version = 0;
    ask(use, [&](Session& session, Line line) -> Status {
        KMS_ASSIGN(const FetchedKey fetched, get_key(line, move.name, listed.tag));
        KMS_TRY(check_as_listed(fetched, listed, algorithm));
        KMS_ASSIGN(NewDataKey made, wrap_data_key(line, kek, {move.name, listed.version, algorithm},
                                                  fetched.key.view()));
        kek_version = made.wrapped.version;
        session.reply = std::move(made.wrapped.bytes);
        return {};
    });
    return {kek_version, copy_of(session().reply.view())};
}

// It may have been a data key before, of which nothing is left here.
constexpr std::uint32_t first_kek_version = 1;

void add_adopted(const KeyMove& move, ByteView kek, const ListedVersion& listed,
                 const WrappedForm& wrapped) {
    const DataKeyId id{move.name, listed.version,
                       required_algorithm(move.subject(), listed.algorithm)};
    if (!insert_data_key({kek, id, listed.tag, wrapped, first_kek_version, listed.state,
                          timestamp_of(listed.created)})) {
        raise_data_keys_changed();
    }
}

// Of destroyed versions there is no more than the number and the tag, which shall not come again.
// `kek_version`: one that the KEK had by now.
void add_destroyed(const KeyMove& move, ByteView kek, std::uint32_t kek_version,
                   std::span<const ListedVersion> missing) {
    for (const ListedVersion& listed : missing) {
        if (listed.state == VersionState::destroyed) {
            add_adopted(move, kek, listed, {kek_version, {}});
        }
    }
}

// The KEK version that has wrapped the last of them; 0: none was wrapped.
std::uint32_t add_living(const KeyMove& move, ByteView kek,
                         std::span<const ListedVersion> missing) {
    std::uint32_t kek_version = 0;
    for (const ListedVersion& listed : missing) {
        if (listed.state != VersionState::destroyed) {
            const WrappedForm wrapped = wrap_fetched(
                move, kek, listed, required_algorithm(move.subject(), listed.algorithm));
            add_adopted(move, kek, listed, wrapped);
            kek_version = wrapped.kek_version;
        }
    }
    return kek_version;
}

std::span<const ListedVersion> not_stored(const KeyMove& move) {
    Collected<ListedVersion> missing;
    for (const ListedVersion& listed : move.listed) {
        if (with_number(move.stored, listed.version) == nullptr) {
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
void require_as_listed(const KeyMove& move) {
    if (!std::ranges::equal(move.listed, list_of_key(move.action, move.name), lists_the_same)) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("the agent's key \"%s\" was changed meanwhile",
                               shown_identifier(move.name)),
                        errhint("Call it again.")));
    }
}

std::size_t adopt(const KeyMove& move, ByteView kek) {
    require_may_leave(move);
    require_described(use_of_identifier(move.action, move.name),
                      newest_listed(move.listed)->version);
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

}  // namespace

KMS_FUNCTION(kms_adopt_key) {
    require_own_data_keys("kms.adopt_key()");
    const ByteView name = required_identifier(fcinfo, 0, "name");
    const ByteView kek = required_identifier(fcinfo, 1, "kek");
    share_kek(kek);
    lock_name(name, KeyPlace::both);
    lock_data_key(name);
    const ListedVersions listed = list_of_key("adopt key", name);
    const std::size_t adopted =
        adopt({"adopt key", name, read_data_key(name).versions, listed}, kek);
    return UInt32GetDatum(static_cast<std::uint32_t>(adopted));
}

}  // namespace kms::pg
