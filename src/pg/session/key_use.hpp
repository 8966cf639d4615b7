// Which key a call uses, and what it is used in the name of: PostgreSQL side.
#pragma once

#include <optional>

#include "pg/server/wall.hpp"
#include "pg/session/identity.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {

// Which key a call is about, and who asks: the PostgreSQL side looks it up, the C++ side uses it.
// What it points at is the call's own: users' code may run in between, and use kms as another role,
// bind other keys or set another command.
struct KeyUse {
    const char* action;     // for messages
    std::int32_t local_id;  // 0 where the identifier was given itself
    ByteView identifier;
    const IdentityTexts* identity;
    Deadlines deadlines;
    const char* command;
    std::uint32_t owner;  // the current role
    // What the database has of the key. nullptr: the agent alone knows the name. In envelope mode
    // there is always something, if it is empty.
    const DataKey* stored = nullptr;
    // The circumstances that it was looked up in: see key_circumstances().
    std::uint64_t circumstances = 0;

    Subject subject() const { return {action, local_id, identifier}; }

    // Whether a version is looked for in the database, and not at the agent: the current one, or
    // the one with `tag`. In local mode a name may stand for keys in both places.
    bool is_stored(const std::optional<KeyTag>& tag) const;
};

// Rises with every change of a setting, of kms.data_key or of the session's user: what was derived
// from them must be looked up again.
std::uint64_t key_circumstances();
std::uint64_t key_circumstances_as_of(std::uint64_t data_key_changes);

// A key named by its identifier, or by the local id that it is bound to (KM001 where it is not),
// for a call that asks in the name of who is the current role now.
KeyUse use_of_identifier(const char* action, ByteView identifier);
KeyUse use_of_local_id(const char* action, std::int32_t local_id);

// The same for a use of the DEK itself: reads what kms.data_key has of it, but in remote mode.
KeyUse use_of_data_key(KeyUse use);

// Whether a failure may be due to a form that is no longer in the table: who shreds a key destroys
// KEK versions as soon as every other key has another form.
bool is_outdated(const KeyUse& use, const Failure& failure);

}  // namespace kms::pg
