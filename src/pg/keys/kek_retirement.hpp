// What would be lost with versions of a KEK: data keys of this database, and rows and blobs that it
// has sealed itself. The agent is asked: the KEK versions that kms.data_key names are those that
// the agent had when it wrapped, and since then its keys may have been put back from a backup, or
// numbered anew.
#pragma once

#include "pg/keys/retirement.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {

struct VersionRange {
    std::uint32_t first;
    std::uint32_t last;

    bool has(std::uint32_t version) const { return first <= version && version <= last; }
};

// "version 1" or "versions 1 to 3".
const char* shown_range(VersionRange versions);

// Where an agent that did not list the versions would have to tell whether rows need one.
[[noreturn]] void raise_unlisted(const KeyUse& use, const Failure& failure);

// Versions of data keys whose first form the agent does not open by a version outside of the range.
// Raises where it does not try. Nobody wraps one until the transaction is over. Both sides.
std::uint64_t count_needing(const KeyUse& kek, VersionRange versions);

// KM012 where there are any.
void refuse_if_wrapping(const KeyUse& kek, std::uint32_t version);

// The tags that the agent lists for the versions: those of all, or without destroyed ones. Empty
// where nothing in the database can be sealed under them. Where the agent does not list: raises, or
// is a WARNING by `force`.
struct KekTags {
    std::span<const KeyTag> tags;
    bool may_be_cached;  // somebody may hold one of the versions itself
};
KekTags tags_of_kek(const KeyUse& kek, VersionRange versions, bool with_destroyed, bool force);

}  // namespace kms::pg
