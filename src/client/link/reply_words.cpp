#include "client/link/reply_words.hpp"

#include "crypto/sealed.hpp"
#include "wire/verbs.hpp"

#include "base/floor.hpp"

namespace kms {

Error opening_failure(Error error) {
    if (error.code == Code::invalid) {
        error.code = Code::malformed;
    }
    return error;
}

Result<std::uint32_t> read_version(const wire::Head& head) {
    const auto version = wire::parse_number(head.raw_word(0), wire::max_version);
    if (!version || *version == 0) {
        return violation("a reply has no proper key version");
    }
    return static_cast<std::uint32_t>(*version);
}

Result<std::uint32_t> read_version_or_first(const wire::Head& head) {
    return head.words.empty() ? Result<std::uint32_t>(1) : read_version(head);
}

Result<Algorithm> read_algorithm(const wire::Head& head) {
    const std::string_view name = head.raw_word(1);
    if (name.empty()) {
        return violation("a reply names no algorithm");
    }
    const auto algorithm = algorithm_named(name);
    if (!algorithm) {
        // Not shown: an agent that mistakes the order of words may have put the key there.
        return Error{Code::unsupported, "the key agent names an algorithm that is not known here"};
    }
    return *algorithm;
}

Result<KeyTag> read_tag(std::string_view word) {
    const auto tag = wire::parse_tag(word);
    if (!tag) {
        return violation("a reply has no proper key tag");
    }
    return *tag;
}

Status check_encrypted(const Reply& reply, std::size_t plaintext_length) {
    if (!reply.head.words.empty()) {
        KMS_TRY(read_version(reply.head));
    }
    const auto header = read_sealed_header(reply.body);
    if (!header || header->plaintext_length != plaintext_length) {
        return violation("what was encrypted is no sealed value");
    }
    if (reply.head.words.size() > 1) {
        KMS_ASSIGN(const KeyTag tag, read_tag(reply.head.raw_word(1)));
        if (tag != header->tag) {
            return violation("what was encrypted has another key tag than the reply says");
        }
    }
    return {};
}

Status check_decrypted(const Reply& reply, ByteView sealed) {
    const auto header = read_sealed_header(sealed);
    if (header && header->plaintext_length != reply.body.size()) {
        return violation("what was decrypted has another length than was sealed");
    }
    return {};
}

}  // namespace kms
