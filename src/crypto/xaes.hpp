// XAES-256-GCM (C2SP, XAES-256-GCM): AES-256-GCM with a nonce of 24 bytes, whose first 12 select a
// derived key.
#pragma once

#include <memory>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/additional_data.hpp"

namespace kms {

constexpr std::size_t xaes_key_length = 32;
constexpr std::size_t xaes_nonce_length = 24;
constexpr std::size_t xaes_prefix_length = 12;
constexpr std::size_t xaes_tag_length = 16;

// Move-only. Not for threads. Limits and errors as GcmKey has them.
class XaesKey {
  public:
    // `key`: 32 bytes (else Code::invalid).
    static Result<XaesKey> create(ByteView key);

    XaesKey(XaesKey&&) noexcept;
    XaesKey& operator=(XaesKey&&) noexcept;
    ~XaesKey();

    // Under a nonce of the caller's: for vectors. `out`: plaintext.size() + 16.
    Status seal_with_nonce(ByteView nonce, AdditionalData data, ByteView plaintext, ByteSpan out);

    // Draws the nonce (24 bytes) and writes it. The prefix is this object's own: drawn again after
    // 2^12 values or 64 GiB, and in a forked child; the rest is random for every value.
    Status seal(ByteSpan nonce, AdditionalData data, ByteView plaintext, ByteSpan out);

    // `out`: sealed.size() - 16 bytes, wiped unless the tag verifies (Code::corrupt).
    Status open(ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out);

    void wipe() noexcept;  // as GcmKey::wipe

  private:
    struct State;
    explicit XaesKey(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

}  // namespace kms
