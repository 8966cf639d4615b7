// The versions of one key, for functions that look under all of them. Acts two and three.
#pragma once

#include <span>

#include "crypto/algorithm.hpp"
#include "pg/session.hpp"

namespace kms::pg {

struct KnownVersion {
    std::uint32_t version;
    KeyTag tag;
    wire::VersionState state;
};

// In the current memory context. In envelope mode what kms.data_key says now; else what the agent
// lists now: whoever has just sealed under a new version must find it. KM002 where there is no such
// key.
std::span<const KnownVersion> known_versions(KeyUse use);

// The tags of those that are enabled. KM011 where none is, or one is disabled that is not to be
// skipped: what was sealed under it would not be found.
std::span<const KeyTag> enabled_tags(const KeyUse& use, bool skip_disabled);

}  // namespace kms::pg
