// The words and limits of replies that several verbs share. What is not as kms/1 has it is
// Code::protocol.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "client/link/request.hpp"
#include "crypto/algorithm.hpp"
#include "wire/frame.hpp"

namespace kms {

inline Error violation(const char* what) {
    return {Code::protocol, what};
}

// Bytes that the reply to encrypt or wrap may have.
constexpr std::uint64_t sealed_limit(std::uint64_t sent) {
    return 2 * sent + 4096;
}

// Why a decrypt or an unwrap failed: what is invalid there is the sealed value, Code::malformed.
Error opening_failure(Error error);

// The first word, and of replies that may leave it out: 1.
Result<std::uint32_t> read_version(const wire::Head& head);
Result<std::uint32_t> read_version_or_first(const wire::Head& head);

// The second word. Code::unsupported for a name that is not known here.
Result<Algorithm> read_algorithm(const wire::Head& head);

Result<KeyTag> read_tag(std::string_view word);

// The reply to encrypt: VERSION and TAG may be left out, but not be wrong, nor another than that of
// the value. What takes the
// plaintext's place, and may be all that is left of it, must be a sealed value of as many bytes.
Status check_encrypted(const Reply& reply, std::size_t plaintext_length);

// The reply to decrypt: as many bytes as the header of `sealed` tells, where it has one. They may
// take the place of the only copy.
Status check_decrypted(const Reply& reply, ByteView sealed);

}  // namespace kms
