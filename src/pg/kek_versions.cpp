#include "pg/kek_versions.hpp"

#include "pg/administer.hpp"
#include "pg/used_versions.hpp"

namespace kms::pg {
namespace {

Status require_offered(const KeyAgent& agent, std::string_view verb) {
    if (!agent.offers(verb)) {
        return Error{Code::unsupported, "the key agent does not offer " + std::string(verb)};
    }
    return {};
}

Status destroy_versions(Line line, ByteView kek, std::uint32_t first, std::uint32_t last) {
    for (std::uint64_t version = first; version <= last; ++version) {
        const Status destroyed =
            change_version(line, wire::verb::destroy, kek, static_cast<std::uint32_t>(version));
        if (!destroyed && destroyed.error().code != Code::not_found) {
            return destroyed.error();
        }
    }
    return {};
}

}  // namespace

std::uint32_t rotate_kek_at_agent(const KeyUse& kek) {
    const std::uint32_t used = highest_used_version(kek.identifier);
    std::uint32_t version = 0;
    administer(kek, [&](Line line) -> Status {
        KMS_TRY(require_offered(line.agent, wire::verb::wrap));
        KMS_TRY(require_offered(line.agent, wire::verb::unwrap));
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
        KMS_TRY(require_offered(line.agent, wire::verb::destroy));
        KMS_ASSIGN(const DescribedKey described, describe_key(line, kek.identifier));
        version = described.version;
        return {};
    });
    return version;
}

void destroy_kek_versions(const KeyUse& kek, std::uint32_t first, std::uint32_t last) {
    administer(kek, [&](Line line) { return destroy_versions(line, kek.identifier, first, last); });
}

}  // namespace kms::pg
