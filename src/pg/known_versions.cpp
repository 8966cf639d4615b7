#include "pg/known_versions.hpp"

#include "pg/args.hpp"
#include "pg/collected.hpp"
#include "pg/listed_versions.hpp"

namespace kms::pg {
namespace {

using wire::VersionState;

struct KnownVersion {
    std::uint32_t version;
    KeyTag tag;
    VersionState state;
};

template <typename Version>
std::span<const KnownVersion> known(std::span<const Version> versions) {
    Collected<KnownVersion> all;
    for (const Version& each : versions) {
        all.add({each.version, each.tag, each.state});
    }
    return all.all();
}

std::span<const KnownVersion> versions_of(KeyUse use) {
    use = use_of_data_key(use);
    if (use.stored != nullptr) {
        return known(use.stored->versions);
    }
    ListedVersions listed;
    if (const Failure failure = list_versions_of_key(use, listed)) {
        raise(failure);
    }
    return known(listed);
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
