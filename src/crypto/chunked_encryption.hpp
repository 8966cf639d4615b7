// C2SP chunked-encryption (c2sp.org/chunked-encryption), instance Cobblestone-256: AES-256-GCM
// without additional data under keys from HKDF-Expand with SHA-512.
//
//     message = salt(24) | commitment(32) | sealed chunk...
//     sealed chunk = ciphertext | authentication tag(16)
//
// Message keys come from the input key, the salt and the context; a chunk's nonce from its number.
// Any chunk can be opened by itself: its number and whether it is the final one are authenticated.
#pragma once

#include <array>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/chunked_index.hpp"
#include "crypto/gcm.hpp"

namespace kms::chunked {

constexpr std::size_t key_length = 32;

using Commitment = std::array<Byte, commitment_length>;

struct MessageKeys {
    SecretArray<key_length> key;
    SecretArray<gcm_nonce_length> base_nonce;
    Commitment commitment;
};

// `input_key`: 32 uniformly random bytes, `salt`: 24 (else Code::invalid).
Status derive_message_keys(ByteView input_key, ByteView salt, ByteView context, MessageKeys& keys);

// The key of one message and one direction, without header and order: the document's raw mode.
// Move-only. Not for threads.
class ChunkKey {
  public:
    // `key`: 32 bytes, `base_nonce`: 12 (else Code::invalid); both random and for one message only.
    static Result<ChunkKey> create(GcmKey::Direction direction, ByteView key, ByteView base_nonce);

    // At most 16 KiB of plaintext, and less in the final chunk. `out`: 16 bytes more. A number is
    // never sealed twice. Code::too_large from number 2^38 on.
    Status seal(std::uint64_t number, ByteView plaintext, ByteSpan out);

    // `out`: 16 bytes less, wiped unless authentic (Code::corrupt).
    Status open(std::uint64_t number, ByteView sealed, ByteSpan out);

  private:
    using Nonce = std::array<Byte, gcm_nonce_length>;

    ChunkKey(GcmKey key, ByteView base_nonce);
    Nonce nonce_of(std::uint64_t number) const;

    GcmKey key_;
    Nonce base_nonce_{};
};

// Seals one message from its beginning to its end, a chunk at a time. After a failure of the
// cryptography, and in a forked child, it goes on no more: a nonce would serve twice.
class MessageSealer {
  public:
    // Draws a salt. `header`: 56 bytes, the beginning of the message. Errors as
    // derive_message_keys.
    static Result<MessageSealer> start(ByteView input_key, ByteView context, ByteSpan header);

    // With a salt of the caller's: for vectors.
    static Result<MessageSealer> start_with_salt(ByteView input_key, ByteView salt,
                                                 ByteView context, ByteSpan header);

    // Any chunk but the final one. `plaintext`: 16 KiB; `out`: 16 KiB + 16 (else Code::invalid,
    // and the same chunk may be tried again).
    Status seal_chunk(ByteView plaintext, ByteSpan out);

    // `plaintext`: less than 16 KiB, may be empty; `out`: 16 bytes more. Nothing comes after it.
    Status seal_final(ByteView plaintext, ByteSpan out);

  private:
    explicit MessageSealer(ChunkKey key);
    Status seal(ByteView plaintext, ByteSpan out, bool final);

    ChunkKey key_;
    std::uint64_t next_ = 0;
    bool ended_ = false;
    unsigned epoch_;
};

// Opens the chunks of one message in any order.
class MessageOpener {
  public:
    // `header`: the first 56 bytes of the message. Code::corrupt: the commitment is another one, so
    // the message belongs to another key or context, or the header is damaged or cut short.
    static Result<MessageOpener> create(ByteView input_key, ByteView context, ByteView header);

    // `sealed`: the whole of chunk `number`; is_final(sealed.size()) then tells whether the message
    // ends with it. `out`: 16 bytes less, wiped unless authentic. Code::corrupt; Code::too_large.
    Status open(std::uint64_t number, ByteView sealed, ByteSpan out);

  private:
    explicit MessageOpener(ChunkKey key);

    ChunkKey key_;
};

}  // namespace kms::chunked
