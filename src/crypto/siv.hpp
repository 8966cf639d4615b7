// AES-SIV-CMAC (RFC 5297), composed from OpenSSL's CMAC and CTR: its own EVP cipher (3.0) fails on
// empty plaintexts, and a reused context can accept a forgery.
#pragma once

#include <memory>
#include <span>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/additional_data.hpp"

namespace kms {

constexpr std::size_t siv_length = 16;

// Move-only. Not for threads. Plaintext: at most 1 GiB (Code::too_large).
class SivKey {
  public:
    // 32, 48 or 64 bytes: the CMAC key, then the CTR key (else Code::invalid).
    static Result<SivKey> create(ByteView key);

    SivKey(SivKey&&) noexcept;
    SivKey& operator=(SivKey&&) noexcept;
    ~SivKey();

    // `out`: the synthetic IV, then plaintext.size() bytes of ciphertext. Each element of
    // `associated` is one string of RFC 5297's vector (at most 126, else Code::invalid).
    Status seal(std::span<const ByteView> associated, ByteView plaintext, ByteSpan out);

    // `out`: sealed.size() - 16, wiped unless the IV verifies (Code::corrupt).
    Status open(std::span<const ByteView> associated, ByteView sealed, ByteSpan out);

    // With exactly one string, given in two parts.
    Status seal(AdditionalData associated, ByteView plaintext, ByteSpan out);
    Status open(AdditionalData associated, ByteView sealed, ByteSpan out);

    void wipe() noexcept;  // as GcmKey::wipe

  private:
    struct State;
    explicit SivKey(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

}  // namespace kms
