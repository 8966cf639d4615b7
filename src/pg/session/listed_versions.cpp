#include "pg/session/listed_versions.hpp"

#include <algorithm>

#include "pg/server/arguments.hpp"
#include "pg/server/collected.hpp"
#include "pg/session/asking.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/session.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

template <typename Fits>
const ListedVersion* newest(ListedVersions of_key, Fits&& fits) {
    const ListedVersion* found = nullptr;
    for (const ListedVersion& version : of_key) {
        if (fits(version) && (found == nullptr || found->version < version.version)) {
            found = &version;
        }
    }
    return found;
}

ListedVersions copied(std::span<const wire::ListedVersion> versions) {
    auto* copies = allocate_many<ListedVersion>(versions.size());
    std::size_t count = 0;
    for (const wire::ListedVersion& version : versions) {
        copies[count] = {copy_of(bytes_of(version.key)),
                         version.version,
                         text_of(copy_of(bytes_of(version.algorithm))),
                         version.tag,
                         version.state,
                         std::chrono::seconds(version.created),
                         text_of(copy_of(bytes_of(version.uses.purpose))),
                         version.uses.exportable};
        ++count;
    }
    return {copies, count};
}

using List = Result<std::vector<wire::ListedVersion>> (*)(Line line, ByteView key);

Failure list_by(List list, const KeyUse& use, ListedVersions& listed) {
    const Failure failure = try_ask(use, [&](Session& session, Line line) -> Status {
        KMS_ASSIGN(session.listed, list(line, use.identifier));
        return {};
    });
    if (!failure) {
        listed = copied(session().listed);
    }
    return failure;
}

}  // namespace

bool has_agent() {
    return mode() != Mode::refused && *command() != '\0';
}

Failure list_beginning_so(const KeyUse& use, ListedVersions& listed) {
    return list_by(list_keys, use, listed);
}

// An agent may list all keys that begin so.
Failure list_versions_of_key(const KeyUse& use, ListedVersions& listed) {
    ListedVersions beginning_so;
    const Failure failure = list_by(list_versions, use, beginning_so);
    Collected<ListedVersion> versions;
    for (const ListedVersion& version : beginning_so) {
        if (std::ranges::equal(version.key, use.identifier)) {
            versions.add(version);
        }
    }
    listed = versions.all();
    return failure;
}

ListedVersions try_list_versions(ByteView key_identifier) {
    ListedVersions listed;
    if (has_agent()) {
        (void)list_versions_of_key(use_of_identifier("list key", key_identifier), listed);
    }
    return listed;
}

ListedVersions try_list_keys() {
    ListedVersions listed;
    if (has_agent()) {
        (void)list_beginning_so(use_of_identifier("list keys", {}), listed);
    }
    return listed;
}

const ListedVersion* listed_version(ListedVersions of_key, const KeyTag& tag) {
    return newest(of_key, [&](const ListedVersion& version) { return version.tag == tag; });
}

const ListedVersion* listed_version(ListedVersions of_key, std::uint32_t version) {
    return newest(of_key, [&](const ListedVersion& each) { return each.version == version; });
}

const ListedVersion* newest_listed(ListedVersions of_key) {
    return newest(of_key, [](const ListedVersion&) { return true; });
}

}  // namespace kms::pg
