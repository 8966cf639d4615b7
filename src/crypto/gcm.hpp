// AES-GCM (SP 800-38D) with one cached context a direction.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/ossl.hpp"

namespace kms {

constexpr std::size_t gcm_nonce_length = 12;
constexpr std::size_t gcm_tag_length = 16;

// Additional data in two parts, taken as one string.
struct AdditionalData {
    ByteView first;
    ByteView second;
};

// One key, one direction. Move-only. Not for threads.
class GcmKey {
  public:
    enum class Direction { seal, open };

    // `key`: 16, 24 or 32 bytes.
    static Result<GcmKey> create(Direction direction, ByteView key);

    // Replaces the key by another of the same length, without allocating.
    Status set_key(ByteView key);

    // `out`: plaintext.size() bytes of ciphertext, then the tag of 16.
    Status seal(ByteView nonce, AdditionalData data, ByteView plaintext, ByteSpan out);

    // `sealed`: ciphertext, then the tag. `out`: sealed.size() - 16 bytes, wiped unless the tag
    // verifies (Code::corrupt).
    Status open(ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out);

    // Overwrites the key schedule in place: no allocation, no lock, so a signal handler may call it.
    void wipe() noexcept;

  private:
    GcmKey(Direction direction, std::size_t key_length, ossl::Owned<EVP_CIPHER_CTX> context);

    Direction direction_;
    std::size_t key_length_;
    ossl::Owned<EVP_CIPHER_CTX> context_;
};

}  // namespace kms
