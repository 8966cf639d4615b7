// Terms for searches by equality, under a key of algorithm hmac-sha-256 (doc/formats.md, "Blind
// index"): HMAC-SHA256 over bits(2) | length of context(8) | context | data, under the subkey
// `kms/1 blind index`.
#pragma once

#include <array>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/algorithm.hpp"

namespace kms {

constexpr unsigned most_term_bits = 256;
constexpr std::size_t full_term_length = 32;
using FullTerm = std::array<Byte, full_term_length>;

constexpr bool is_term_size(std::uint64_t bits) {
    return bits >= 1 && bits <= most_term_bits;
}

// Bytes of a term of so many bits.
constexpr std::size_t term_length(unsigned bits) {
    return (bits + 7) / 8;
}

// The leftmost bits of a full term, the rest of the last byte zero. `out`: term_length(bits).
void cut_term(const FullTerm& full, unsigned bits, ByteSpan out);

// The subkey of one key version. Move-only; not for threads.
class TermKey {
  public:
    // Code::unsupported for a key of another algorithm.
    static Result<TermKey> from_data_key(Algorithm algorithm, ByteView data_key);

    // All 256 bits of the message for `bits`, so that no term is the beginning of another. `bits`:
    // 1 to 256 (else Code::invalid).
    Result<FullTerm> make(unsigned bits, ByteView context, ByteView data) const;

    void wipe() noexcept { kms::wipe(subkey_.span()); }

  private:
    SecretBytes subkey_;
};

}  // namespace kms
