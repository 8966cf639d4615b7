#include "pg/listed_versions.hpp"

#include "pg/args.hpp"
#include "pg/settings.hpp"

namespace kms::pg {
namespace {

// The list is one of all keys that begin so.
template <typename Fits>
const wire::ListedVersion* newest(ByteView key_identifier, Fits&& fits) {
    const wire::ListedVersion* found = nullptr;
    for (const wire::ListedVersion& listed : session().listed) {
        if (listed.key == text_of(key_identifier) && fits(listed) &&
            (found == nullptr || found->version < listed.version)) {
            found = &listed;
        }
    }
    return found;
}

}  // namespace

Failure list_versions(const KeyUse& use) {
    Session& session = pg::session();
    const Failure failure = in_session(session, use.subject(), [&]() -> Status {
        KMS_ASSIGN(Line line, session.line(use));
        KMS_ASSIGN(session.listed, list_keys(line, use.identifier));
        return {};
    });
    settle(session, failure);
    return failure;
}

bool try_list_versions(ByteView key_identifier) {
    const bool can_ask = mode() != Mode::refused && *command() != '\0';
    return can_ask && !list_versions(use_of_identifier("list key", key_identifier));
}

const wire::ListedVersion* listed_version(ByteView key_identifier, const KeyTag& tag) {
    return newest(key_identifier, [&](const auto& listed) { return listed.tag == tag; });
}

const wire::ListedVersion* listed_version(ByteView key_identifier, std::uint32_t version) {
    return newest(key_identifier, [&](const auto& listed) { return listed.version == version; });
}

const wire::ListedVersion* newest_listed(ByteView key_identifier) {
    return newest(key_identifier, [](const auto&) { return true; });
}

}  // namespace kms::pg
