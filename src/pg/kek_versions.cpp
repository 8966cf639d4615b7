#include "pg/kek_versions.hpp"

#include "pg/administer.hpp"
#include "pg/key_arguments.hpp"
#include "pg/used_versions.hpp"

namespace kms::pg {
namespace {

Status destroy_versions(Line line, ByteView kek, std::uint32_t first, std::uint32_t last,
                        std::uint64_t& missing) {
    for (std::uint64_t version = first; version <= last; ++version) {
        const Status destroyed =
            change_version(line, wire::verb::destroy, kek, static_cast<std::uint32_t>(version));
        if (!destroyed && destroyed.error().code != Code::not_found) {
            return destroyed.error();
        }
        missing += destroyed ? 0 : 1;
    }
    return {};
}

void warn_of_missing(ByteView kek, std::uint64_t missing) {
    if (missing != 0) {
        ereport(WARNING,
                (errmsg("the agent does not have " UINT64_FORMAT " of these versions of \"%s\"",
                        missing, shown_identifier(kek)),
                 errdetail("What they have wrapped can be opened wherever they still are, in a "
                           "copy of the agent's keys or under another number.")));
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
    std::uint64_t missing = 0;
    administer(kek, [&](Line line) {
        return destroy_versions(line, kek.identifier, first, last, missing);
    });
    warn_of_missing(kek.identifier, missing);
}

}  // namespace kms::pg
