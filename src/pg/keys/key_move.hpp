// A key that moves between the agent and the database, with all of its versions: what both ways
// share. Both sides.
#pragma once

#include <algorithm>
#include <span>

#include "pg/session/listed_versions.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {

// The same name in both places.
struct KeyMove {
    const char* action;
    ByteView name;
    std::span<const DataKeyVersion> stored;
    ListedVersions listed;

    Subject subject() const { return {action, 0, name}; }
};

// `hint`: nullptr for none.
[[noreturn]] void refuse_move(const KeyMove& move, int sqlstate, const char* why, const char* hint);

// What the agent has of this very key. Raises its error.
ListedVersions list_of_key(const char* action, ByteView name);

// A name may stand in both places only for one key: 55000.
void require_same_key(const KeyMove& move);

// nullptr: there is none of this number.
template <typename Version>
const Version* with_number(std::span<const Version> versions, std::uint32_t number) {
    const auto found = std::ranges::find(versions, number, &Version::version);
    return found != versions.end() ? &*found : nullptr;
}

}  // namespace kms::pg
