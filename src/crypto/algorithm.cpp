#include "crypto/algorithm.hpp"

#include <algorithm>
#include <string>

#include "crypto/kdf.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

// In the order of the enumeration; those that seal come first.
constexpr std::array<AlgorithmInfo, 6> table{{
    {Algorithm::xaes_256_gcm, "xaes-256-gcm", 32, Suite::xaes_256_gcm, 24, false},
    {Algorithm::aes_256_siv, "aes-256-siv", 64, Suite::aes_siv, 0, false},
    {Algorithm::aes_128_gcm, "aes-128-gcm", 16, Suite::aes_gcm, 12, true},
    {Algorithm::aes_192_gcm, "aes-192-gcm", 24, Suite::aes_gcm, 12, true},
    {Algorithm::aes_256_gcm, "aes-256-gcm", 32, Suite::aes_gcm, 12, true},
    {Algorithm::hmac_sha_256, "hmac-sha-256", 32, std::nullopt, 0, false},
}};

// The first that fits: so a key of 32 bytes is one of the default algorithm.
template <typename Predicate>
std::optional<Algorithm> find(Predicate fits) {
    const auto found = std::find_if(table.begin(), table.end(), fits);
    if (found == table.end()) {
        return std::nullopt;
    }
    return found->algorithm;
}

}  // namespace

const AlgorithmInfo& info_of(Algorithm algorithm) {
    return table[static_cast<std::size_t>(algorithm)];
}

std::span<const AlgorithmInfo> all_algorithms() {
    return table;
}

std::span<const AlgorithmInfo> sealing_algorithms() {
    return std::span(table).first(table.size() - 1);
}

std::optional<Algorithm> algorithm_named(std::string_view name) {
    return find([&](const AlgorithmInfo& info) { return info.name == name; });
}

Status require_sealing(Algorithm algorithm) {
    if (info_of(algorithm).seals()) {
        return {};
    }
    return Error{Code::unsupported, "a key of algorithm " + std::string(info_of(algorithm).name) +
                                        " makes search terms, and seals nothing"};
}

Status require_terms(Algorithm algorithm) {
    if (!info_of(algorithm).seals()) {
        return {};
    }
    return Error{Code::unsupported,
                 "search terms need a key of algorithm hmac-sha-256, and this "
                 "one's is " +
                     std::string(info_of(algorithm).name)};
}

std::optional<Algorithm> algorithm_for_key_length(std::size_t bytes) {
    return find([&](const AlgorithmInfo& info) { return info.key_length == bytes; });
}

Result<KeyTag> compute_key_tag(Algorithm algorithm, ByteView key) {
    const AlgorithmInfo& info = info_of(algorithm);
    if (key.size() != info.key_length) {
        return Error{Code::invalid, "a key for " + std::string(info.name) + " has " +
                                        std::to_string(info.key_length) + " bytes"};
    }
    KeyTag tag;
    KMS_TRY(derive_subkey(key, "kms/1 tag", info.name, tag));
    return tag;
}

}  // namespace kms
