// What the agent lists of keys: both sides.
#pragma once

#include <optional>
#include <span>

#include "pg/session/session.hpp"

namespace kms::pg {

// One version, in the memory context that it was listed in. The caller's own, whatever the session
// asks of its agent meanwhile.
struct ListedVersion {
    ByteView key;
    std::uint32_t version;
    std::string_view algorithm;  // a name that this build may not know
    KeyTag tag;
    wire::VersionState state;
    std::chrono::seconds created;  // since 1970, UTC
    std::string_view purpose;      // empty, and nullopt: the agent does not say
    std::optional<bool> exportable;
};

using ListedVersions = std::span<const ListedVersion>;

// Of all keys that begin with the identifier. Raises a cancel only; the session is settled.
Failure list_beginning_so(const KeyUse& use, ListedVersions& listed);

// Of this very key.
Failure list_versions_of_key(const KeyUse& use, ListedVersions& listed);

// Whether the settings name one that may be asked.
bool has_agent();

// Empty where the agent cannot be asked, or does not say. Raises a cancel only.
ListedVersions try_list_versions(ByteView key_identifier);

// Of all keys that the agent tells of; the same.
ListedVersions try_list_keys();

// In a list of one key; nullptr: it is not among them.
const ListedVersion* listed_version(ListedVersions of_key, const KeyTag& tag);  // or of several
const ListedVersion* listed_version(ListedVersions of_key, std::uint32_t version);
const ListedVersion* newest_listed(ListedVersions of_key);

}  // namespace kms::pg
