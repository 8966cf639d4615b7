// AES-SIV-CMAC (RFC 5297), composed from OpenSSL's CMAC and CTR: its own EVP cipher (3.0) fails on
// empty plaintexts, and a reused context can accept a forgery.
#pragma once

#include <span>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/ossl.hpp"

namespace kms {

constexpr std::size_t siv_length = 16;

class SivKey {
  public:
    // 32, 48 or 64 bytes: the CMAC key, then the CTR key.
    static Result<SivKey> create(ByteView key);

    // `out`: the synthetic IV, then plaintext.size() bytes of ciphertext. Each element of
    // `associated` is one string of RFC 5297's vector (at most 126).
    Status seal(std::span<const ByteView> associated, ByteView plaintext, ByteSpan out);

    // `out`: sealed.size() - 16, wiped unless the IV verifies (Code::corrupt).
    Status open(std::span<const ByteView> associated, ByteView sealed, ByteSpan out);

    void wipe() noexcept;  // as GcmKey::wipe

  private:
    // to be laid out by the implementation
};

}  // namespace kms
