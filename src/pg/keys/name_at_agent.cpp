#include "pg/keys/name_at_agent.hpp"

#include "client/calls/fetch.hpp"
#include "pg/server/arguments.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/session/asking.hpp"
#include "pg/session/envelope.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/session.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/data_key_writer.hpp"

namespace kms::pg {
namespace {

// By whatever the agent offers. One that neither gives keys nor encrypts has none that seals.
Status ask_for_key(Line line, ByteView name) {
    if (line.agent.offers(wire::verb::describe)) {
        KMS_TRY(describe_key(line, name));
        return {};
    }
    if (line.agent.offers(wire::verb::get)) {
        KMS_TRY(get_key(line, name, std::nullopt));
        return {};
    }
    if (line.agent.offers(wire::verb::encrypt)) {
        return line.agent.require(wire::verb::describe);
    }
    return Error{Code::not_found, {}};
}

// What a ROLLBACK may take away does not count.
const DataKeyVersion* living(ByteView name, const KeyTag& tag) {
    const DataKeyVersion* stored = read_data_key(name).with_tag(tag);
    const bool lives = stored != nullptr && stored->state != wire::VersionState::destroyed &&
                       !TransactionIdIsCurrentTransactionId(stored->written_by);
    return lives ? stored : nullptr;
}

// The KEK may be gone, or another one.
bool opens(const KeyUse& use, const DataKeyVersion& stored) {
    return !try_ask(use, [&](Session&, Line line) -> Status {
        KMS_TRY(unwrap_version(line, use.identifier, stored));
        return {};
    });
}

// Where the agent has not answered it may later.
void raise_unless_silent(const Failure& failure) {
    const Code code = failure.cause.code;
    const bool is_silent = code == Code::unsupported || code == Code::denied ||
                           code == Code::not_found || code == Code::disabled;
    if (failure && (failure.pending || !is_silent)) {
        raise(failure);
    }
}

// The current one; 0: there is none that may be used, or the agent does not say.
std::uint32_t described_version(const KeyUse& use) {
    std::uint32_t version = 0;
    const Failure failure = try_ask(use, [&](Session&, Line line) -> Status {
        if (line.agent.offers(wire::verb::describe)) {
            KMS_ASSIGN(const DescribedKey described, describe_key(line, use.identifier));
            version = described.version;
        }
        return {};
    });
    raise_unless_silent(failure);
    return version;
}

}  // namespace

bool is_adopted(const KeyUse& use, const ListedVersion& listed) {
    if (mode() == Mode::remote || RecoveryInProgress() || !has_data_keys() ||
        !are_data_keys_own()) {
        return false;
    }
    const DataKeyVersion* stored = living(use.identifier, listed.tag);
    if (stored == nullptr || !opens(use, *stored)) {
        return false;
    }
    lock_data_key(use.identifier);
    if (living(use.identifier, listed.tag) == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("the data key \"%s\" was changed meanwhile",
                               shown_identifier(use.identifier)),
                        errhint("Call it again.")));
    }
    return true;
}

void require_described(const KeyUse& use, std::uint32_t listed) {
    const std::uint32_t described = described_version(use);
    if (described != 0 && described < listed) {
        raise_error(use.subject(), Code::protocol,
                    "the key agent lists a newer version than it describes as the current one");
    }
}

std::uint32_t newest_at_agent(ByteView name) {
    const KeyUse use = use_of_identifier("describe key", name);
    ListedVersions listed;
    const Failure unlisted = list_versions_of_key(use, listed);
    if (unlisted) {
        raise_unless_silent(unlisted);
        return described_version(use);
    }
    const ListedVersion* newest = newest_listed(listed);
    if (newest == nullptr) {
        return 0;
    }
    require_described(use, newest->version);
    return newest->version;
}

Failure look_for_copy(const KeyUse& use, const KeyTag& tag, Copy& found) {
    ListedVersions listed;
    const Failure failure = list_versions_of_key(use, listed);
    const ListedVersion* copy = listed_version(listed, tag);
    found = {copy != nullptr && copy->state != wire::VersionState::destroyed, copy != nullptr};
    return failure;
}

void require_unknown_to_agent(const char* action, ByteView name) {
    const KeyUse use = use_of_identifier(action, name);
    const Failure failure =
        try_ask(use, [&](Session&, Line line) { return ask_for_key(line, name); });
    if (!failure || failure.cause.code == Code::disabled) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("could not %s \"%s\": the agent has a key of that name", action,
                               shown_identifier(name)),
                        errdetail("In local mode, nobody could tell which of them is meant."),
                        errhint("Choose another name, or make a data key of that one with "
                                "kms.adopt_key().")));
    }
    if (failure.cause.code != Code::not_found) {
        raise(failure);
    }
}

void require_unknown_to_database(const char* action, ByteView name, const char* instead) {
    if (has_data_keys() && read_data_key(name).newest() != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("could not %s \"%s\": a data key of this database has that name",
                               action, shown_identifier(name)),
                        errdetail("In local mode, nobody could tell which of them is meant."),
                        errhint("%s", instead)));
    }
}

}  // namespace kms::pg
