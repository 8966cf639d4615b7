#include "pg/known_versions.hpp"

#include <algorithm>

#include "pg/args.hpp"
#include "pg/collected.hpp"
#include "pg/listed_versions.hpp"

namespace kms::pg {
namespace {

using wire::VersionState;

std::span<const KnownVersion> stored_versions(const DataKey& stored) {
    Collected<KnownVersion> versions;
    for (const DataKeyVersion& each : stored.versions) {
        versions.add({each.version, each.tag, each.state});
    }
    return versions.all();
}

// Of all keys that begin so.
std::span<const KnownVersion> listed_versions(const KeyUse& use) {
    ListedVersions listed;
    if (const Failure failure = list_versions(use, listed)) {
        raise(failure);
    }
    Collected<KnownVersion> versions;
    for (const ListedVersion& each : listed) {
        if (std::ranges::equal(each.key, use.identifier)) {
            versions.add({each.version, each.tag, each.state});
        }
    }
    return versions.all();
}

}  // namespace

std::span<const KnownVersion> known_versions(KeyUse use) {
    use = use_of_data_key(use);
    const auto versions =
        use.stored != nullptr ? stored_versions(*use.stored) : listed_versions(use);
    if (versions.empty()) {
        raise_error(use.subject(), Code::not_found, "");
    }
    return versions;
}

std::span<const KeyTag> enabled_tags(const KeyUse& use, bool skip_disabled) {
    const auto versions = known_versions(use);
    Collected<KeyTag> tags;
    for (const KnownVersion& each : versions) {
        if (each.state == VersionState::disabled && !skip_disabled) {
            raise_error(use.subject(), Code::disabled,
                        psprintf("Version %u is disabled: what was sealed under it would not be "
                                 "found. skip_disabled => true looks under the others.",
                                 each.version));
        }
        if (each.state == VersionState::enabled) {
            tags.add(each.tag);
        }
    }
    if (tags.all().empty()) {
        raise_error(use.subject(), Code::disabled, "No version is enabled.");
    }
    return tags.all();
}

}  // namespace kms::pg
