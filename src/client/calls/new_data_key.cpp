#include "client/calls/new_data_key.hpp"

#include <openssl/crypto.h>

#include "crypto/random.hpp"
#include "crypto/wrap_context.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

Status check_opens(Line line, ByteView kek, ByteView context, const WrappedSecret& wrapped,
                   ByteView key) {
    KMS_ASSIGN(const WrappedSecret opened,
               unwrap_key(line, kek, context, wrapped.bytes.view(), key.size()));
    KMS_TRY(check_same_version(opened.version, wrapped.version));
    return check_same(opened.bytes.view(), key);
}

// An agent that wraps need not say more of the key.
bool is_refusal(Code code) {
    return code == Code::denied || code == Code::unsupported || code == Code::not_found ||
           code == Code::failed;
}

Result<std::optional<DescribedKey>> try_describe(Line line, ByteView kek) {
    if (!line.agent.offers(wire::verb::describe)) {
        return std::optional<DescribedKey>();
    }
    auto described = describe_key(line, kek);
    if (!described && !is_refusal(described.error().code)) {
        return described.error();
    }
    return described ? std::optional(*described) : std::optional<DescribedKey>();
}

}  // namespace

Result<std::optional<DescribedKey>> describe_kek(Line line, ByteView kek,
                                                 std::uint32_t wrapped_by) {
    KMS_ASSIGN(const std::optional<DescribedKey> described, try_describe(line, kek));
    if (described && described->version < wrapped_by) {
        return Error{Code::protocol,
                     "the key agent wraps by a version that is newer than the current one"};
    }
    return described;
}

Status check_same(ByteView unwrapped, ByteView secret) {
    if (unwrapped.size() != secret.size() ||
        CRYPTO_memcmp(unwrapped.data(), secret.data(), secret.size()) != 0) {
        return Error{Code::protocol, "what the key agent has wrapped opens as something else"};
    }
    return {};
}

Status check_same_version(std::uint32_t opened_by, std::uint32_t wrapped_by) {
    if (opened_by != wrapped_by) {
        return Error{Code::protocol,
                     "the key agent wraps by one version, and says that another opens it"};
    }
    return {};
}

Result<NewDataKey> make_data_key(Line line, ByteView kek, const DataKeyId& id) {
    SecretBytes key(info_of(id.algorithm).key_length);
    KMS_TRY(random_secret(key.span()));
    return wrap_data_key(line, kek, id, key.view());
}

Result<NewDataKey> wrap_data_key(Line line, ByteView kek, const DataKeyId& id, ByteView key) {
    KMS_ASSIGN(const KeyTag tag, compute_key_tag(id.algorithm, key));
    const std::string text = data_key_context(info_of(id.algorithm).name, id.version, id.name);
    const ByteView context = bytes_of(text);
    KMS_ASSIGN(WrappedSecret wrapped, wrap_key(line, kek, context, key));
    KMS_ASSIGN(const std::optional<DescribedKey> described,
               describe_kek(line, kek, wrapped.version));
    KMS_TRY(check_opens(line, kek, context, wrapped, key));
    return NewDataKey{tag, std::move(wrapped), described};
}

}  // namespace kms
