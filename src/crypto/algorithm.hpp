// The algorithms of data keys, and the tag that names a key version (doc/formats.md, "Keys").
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace kms {

enum class Algorithm : Byte {
    xaes_256_gcm,
    aes_256_siv,
    aes_128_gcm,
    aes_192_gcm,
    aes_256_gcm,
    hmac_sha_256,  // makes terms for searches, and neither seals nor wraps
};

constexpr Algorithm default_algorithm = Algorithm::xaes_256_gcm;

// The first byte of a sealed value.
enum class Suite : Byte { xaes_256_gcm = 0x01, aes_siv = 0x02, aes_gcm = 0x03 };

struct AlgorithmInfo {
    Algorithm algorithm;
    std::string_view name;
    std::size_t key_length;      // bytes of the data key: 16, 24, 32 or 64
    std::optional<Suite> suite;  // of its sealed values; nullopt: it seals nothing
    std::size_t nonce_length;    // bytes in the sealed value; 0 for AES-SIV
    bool random_nonce_limit;     // at most 2^32 values a key version (SP 800-38D, 8.3)

    bool seals() const { return suite.has_value(); }
    bool is_deterministic() const { return suite == Suite::aes_siv; }
};

const AlgorithmInfo& info_of(Algorithm algorithm);
std::span<const AlgorithmInfo> all_algorithms();
std::span<const AlgorithmInfo> sealing_algorithms();

std::optional<Algorithm> algorithm_named(std::string_view name);

// Code::unsupported for a key that seals nothing, and for one that makes no search terms.
Status require_sealing(Algorithm algorithm);
Status require_terms(Algorithm algorithm);

// The algorithm of a key whose agent names none: 16 aes-128-gcm, 24 aes-192-gcm, 32 xaes-256-gcm,
// 64 aes-256-siv.
std::optional<Algorithm> algorithm_for_key_length(std::size_t bytes);

constexpr std::size_t key_tag_length = 8;
using KeyTag = std::array<Byte, key_tag_length>;

// Code::invalid when the key has not the algorithm's length.
Result<KeyTag> compute_key_tag(Algorithm algorithm, ByteView key);

}  // namespace kms
