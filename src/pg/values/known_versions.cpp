#include "pg/values/known_versions.hpp"

#include "pg/server/arguments.hpp"
#include "pg/server/collected.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

using wire::VersionState;

struct KnownVersion {
    std::uint32_t version;
    KeyTag tag;
    VersionState state;
};

// What the agent has beside the database, as far as it lists its keys; of a name that the database
// does not know it must.
void add_listed(const KeyUse& use, Collected<KnownVersion>& all) {
    ListedVersions listed;
    const Failure failure = list_versions_of_key(use, listed);
    if (failure && (use.stored == nullptr || failure.cause.code != Code::unsupported)) {
        raise(failure);
    }
    for (const ListedVersion& each : listed) {
        if (!use.is_stored(each.tag)) {
            all.add({each.version, each.tag, each.state});
        }
    }
}

std::span<const KnownVersion> versions_of(KeyUse use) {
    use = use_of_data_key(use);
    Collected<KnownVersion> all;
    if (use.stored != nullptr) {
        for (const DataKeyVersion& each : use.stored->versions) {
            all.add({each.version, each.tag, each.state});
        }
    }
    if (mode() != Mode::envelope) {
        add_listed(use, all);
    }
    return all.all();
}

}  // namespace

std::span<const KeyTag> enabled_tags(const KeyUse& use, bool skip_disabled) {
    const auto versions = versions_of(use);
    if (versions.empty()) {
        raise_error(use.subject(), Code::not_found, "");
    }
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
