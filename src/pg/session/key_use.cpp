#include "pg/session/key_use.hpp"

#include "pg/server/arguments.hpp"
#include "pg/server/sqlstates.hpp"

namespace kms::pg {
namespace {

KeyUse use_of(const char* action, std::int32_t local_id, ByteView identifier) {
    require_settings();
    return {action,      local_id,           identifier, identity_texts(),
            deadlines(), pstrdup(command()), GetUserId()};
}

// How many there have been: a pooler may set another, whom the agent may not give the same keys.
std::uint64_t session_users() {
    static Oid user = InvalidOid;
    static std::uint64_t count = 0;
    if (GetSessionUserId() != user) {
        user = GetSessionUserId();
        ++count;
    }
    return count;
}

// Where the table has another row by now, a form that it had may not open any more.
bool may_be_of_older_row(Code failure) {
    return failure == Code::not_found || failure == Code::disabled || failure == Code::wrong_key ||
           failure == Code::damaged_key;
}

}  // namespace

bool KeyUse::is_stored(const std::optional<KeyTag>& tag) const {
    return stored != nullptr &&
           (mode() == Mode::envelope || !tag || stored->with_tag(*tag) != nullptr);
}

std::uint64_t key_circumstances() {
    return key_circumstances_as_of(data_key_changes());
}

std::uint64_t key_circumstances_as_of(std::uint64_t data_key_changes) {
    return settings_generation() + data_key_changes + session_users();
}

KeyUse use_of_identifier(const char* action, ByteView identifier) {
    return use_of(action, 0, identifier);
}

KeyUse use_of_local_id(const char* action, std::int32_t local_id) {
    const KeyList& keys = key_list();
    const Binding* binding = keys.find(local_id);
    if (binding == nullptr) {
        ereport(ERROR, (errcode(sqlstate::not_bound),
                        errmsg("could not %s: no key is bound to local id %d", action, local_id),
                        errhint("Bind one with kms.set_key(%d, 'key-identifier'), or with SET "
                                "kms.keys = '%d=key-identifier'.",
                                local_id, local_id)));
    }
    return use_of(action, local_id, copy_of(keys.identifier(*binding)));
}

KeyUse use_of_data_key(KeyUse use) {
    use.circumstances = key_circumstances();
    if (mode() == Mode::remote || (mode() == Mode::local && !has_data_keys())) {
        return use;
    }
    auto* stored = static_cast<DataKey*>(palloc(sizeof(DataKey)));
    *stored = read_data_key(use.identifier);
    use.circumstances = key_circumstances_as_of(stored->as_of);
    if (mode() == Mode::envelope || stored->newest() != nullptr) {
        use.stored = stored;
    }
    return use;
}

bool is_outdated(const KeyUse& use, const Failure& failure) {
    if (!failure || use.stored == nullptr || !may_be_of_older_row(failure.cause.code)) {
        return false;
    }
    AcceptInvalidationMessages();
    return use.circumstances != key_circumstances();
}

}  // namespace kms::pg
