// AES-GCM (SP 800-38D) with one cached context a direction.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/additional_data.hpp"
#include "crypto/ossl.hpp"

namespace kms {

constexpr std::size_t gcm_nonce_length = 12;
constexpr std::size_t gcm_tag_length = 16;

// One key, one direction. Move-only. Not for threads. Plaintext and additional data: at most 1 GiB
// each (Code::too_large).
class GcmKey {
  public:
    enum class Direction { seal, open };

    // Without a key: to be assigned to.
    GcmKey() = default;

    // `key`: 16, 24 or 32 bytes (else Code::invalid).
    static Result<GcmKey> create(Direction direction, ByteView key);

    explicit operator bool() const { return context_ != nullptr; }

    // Replaces the key by another of the same length, without allocating.
    Status set_key(ByteView key);

    // `nonce`: 12 bytes, never used twice under one key. `out`: plaintext.size() bytes of
    // ciphertext, then the tag of 16.
    Status seal(ByteView nonce, AdditionalData data, ByteView plaintext, ByteSpan out);

    // `sealed`: ciphertext, then the tag. `out`: sealed.size() - 16 bytes, wiped unless the tag
    // verifies (Code::corrupt).
    Status open(ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out);

    // Overwrites the key schedule in place: no allocation, no lock, so a signal handler may call
    // it.
    void wipe() noexcept;

  private:
    GcmKey(Direction direction, std::size_t key_length, ossl::Owned<EVP_CIPHER_CTX> context);

    Status check(Direction direction, ByteView nonce, AdditionalData data, std::size_t plain,
                 std::size_t whole) const;
    bool start(ByteView nonce, AdditionalData data);

    Direction direction_ = Direction::seal;
    std::size_t key_length_ = 0;
    ossl::Owned<EVP_CIPHER_CTX> context_;
};

}  // namespace kms
