#include "pg/keys/kek_versions.hpp"

#include <optional>

#include "pg/keys/administer.hpp"
#include "pg/keys/used_versions.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/session/listed_versions.hpp"

namespace kms::pg {
namespace {

// Numbers may be left out, a billion of them: the agent lists those that there are. nullopt: it
// does not.
std::optional<std::span<const std::uint32_t>> listed_numbers(const KeyUse& kek, std::uint32_t first,
                                                             std::uint32_t last) {
    ListedVersions listed;
    const Failure failure = list_versions_of_key(kek, listed);
    if (failure && !failure.pending &&
        (failure.cause.code == Code::unsupported || failure.cause.code == Code::denied)) {
        return std::nullopt;
    }
    if (failure) {
        raise(failure);
    }
    Collected<std::uint32_t> numbers;
    for (const ListedVersion& each : listed) {
        if (each.version >= first && each.version <= last) {
            numbers.add(each.version);
        }
    }
    return numbers.all();
}

Status destroy_version(Line line, ByteView kek, std::uint32_t version, std::uint64_t& missing) {
    const Status destroyed = change_version(line, wire::verb::destroy, kek, version);
    if (!destroyed && destroyed.error().code != Code::not_found) {
        return destroyed.error();
    }
    missing += destroyed ? 0 : 1;
    return {};
}

// The newest first: where it breaks off, what opens the latest forms is gone. Those too that are
// listed as destroyed: the list is believed in nothing that this would have made true.
Status destroy_listed(Line line, ByteView kek, std::span<const std::uint32_t> versions,
                      std::uint64_t& missing) {
    for (std::size_t i = versions.size(); i > 0; --i) {
        KMS_TRY(destroy_version(line, kek, versions[i - 1], missing));
    }
    return {};
}

Status destroy_all(Line line, ByteView kek, std::uint32_t first, std::uint32_t last,
                   std::uint64_t& missing) {
    for (std::uint64_t version = last; version >= first; --version) {
        KMS_TRY(destroy_version(line, kek, static_cast<std::uint32_t>(version), missing));
    }
    return {};
}

void warn_of_missing(ByteView kek, std::uint64_t missing) {
    if (missing != 0) {
        ereport(WARNING,
                (errmsg("the agent does not have " UINT64_FORMAT " of these versions of \"%s\"",
                        missing, shown_identifier(kek)),
                 errdetail("Where there were such, what they have wrapped can be opened wherever "
                           "they still are, in a copy of the agent's keys or under another "
                           "number.")));
    }
}

}  // namespace

std::uint32_t rotate_kek_at_agent(const KeyUse& kek) {
    const std::uint32_t used = highest_used_version(kek.identifier);
    std::uint32_t version = 0;
    administer(kek, [&](Line line) -> Status {
        KMS_TRY(line.agent.require(wire::verb::wrap));
        KMS_TRY(line.agent.require(wire::verb::unwrap));
        KMS_ASSIGN(const DescribedKey rotated, rotate_key(line, kek.identifier, used));
        version = rotated.version;
        return {};
    });
    warn_if_used_before(kek.identifier, version, used);
    return version;
}

std::uint32_t current_kek_version(const KeyUse& kek) {
    std::uint32_t version = 0;
    administer(kek, [&](Line line) -> Status {
        KMS_TRY(line.agent.require(wire::verb::destroy));
        KMS_ASSIGN(const DescribedKey described, describe_key(line, kek.identifier));
        version = described.version;
        return {};
    });
    return version;
}

void destroy_kek_versions(const KeyUse& kek, std::uint32_t first, std::uint32_t last) {
    const auto listed = listed_numbers(kek, first, last);
    std::uint64_t missing = listed ? std::uint64_t{last} - first + 1 - listed->size() : 0;
    administer(kek, [&](Line line) {
        return listed ? destroy_listed(line, kek.identifier, *listed, missing)
                      : destroy_all(line, kek.identifier, first, last, missing);
    });
    warn_of_missing(kek.identifier, missing);
}

}  // namespace kms::pg
