// XAES-256-GCM (C2SP, XAES-256-GCM): AES-256-GCM with a nonce of 24 bytes, whose first 12 select a
// derived key.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "base/secret.hpp"
#include "crypto/gcm.hpp"
#include "crypto/random.hpp"

namespace kms {

constexpr std::size_t xaes_key_length = 32;
constexpr std::size_t xaes_nonce_length = 24;
constexpr std::size_t xaes_prefix_length = 12;

class XaesKey {
  public:
    static Result<XaesKey> create(ByteView key);

    // Under a nonce of the caller's: for vectors. `out`: plaintext.size() + 16.
    Status seal_with_nonce(ByteView nonce, AdditionalData data, ByteView plaintext, ByteSpan out);

    // Draws the nonce (24 bytes) and writes it. The prefix is this object's own: drawn again after
    // 2^12 values or 64 GiB, and in a forked child; the rest is random for every value.
    Status seal(ByteSpan nonce, AdditionalData data, ByteView plaintext, ByteSpan out);

    Status open(ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out);

    void wipe() noexcept;  // as GcmKey::wipe

  private:
    // to be laid out by the implementation
};

}  // namespace kms
