// Sealed values: what encode() stores (doc/formats.md, "Sealed value").
//
//     suite(1) | key tag(8) | nonce | ciphertext | authentication tag(16)
//     additional data, one string = suite(1) | key tag(8) | context
#pragma once

#include <memory>
#include <optional>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/algorithm.hpp"

namespace kms {

// Longer ones are Code::too_large.
constexpr std::size_t max_sealed_length = std::size_t{1} << 30;

// What the public bytes of a sealed value say; views into it.
struct SealedHeader {
    Suite suite;
    KeyTag tag;
    ByteView nonce;  // empty for AES-SIV
    std::size_t plaintext_length;
};

// nullopt: no sealed value. For the path that every row takes.
std::optional<SealedHeader> read_sealed_header(ByteView sealed);

// The same with the reason. Code::malformed: too short, or an unknown suite.
Result<SealedHeader> parse_sealed(ByteView sealed);

// Suite and key tag: what tells under what a value is sealed, where it is not read as a whole.
constexpr std::size_t sealed_beginning = 1 + key_tag_length;

// That of the shortest value with this beginning; nullopt: no sealed value begins so.
std::optional<std::size_t> least_sealed_length(ByteView beginning);

// The `kms/1 wrap` subkey of a data key, for SealingKey::from_subkey with xaes-256-gcm.
constexpr std::size_t wrapping_subkey_length = 32;
std::size_t wrapped_size(std::size_t length);  // of a secret with so many bytes
Status derive_wrapping_subkey(Algorithm algorithm, ByteView data_key, ByteSpan out);

// One key version, ready to seal and open. Holds subkeys only, never the data key. Not for threads;
// after a fork it goes on safely (see process_epoch).
class SealingKey {
  public:
    // Draws the `kms/1 seal` (or `kms/1 siv`) subkey and the tag from a data key. One of an
    // algorithm that seals nothing answers Code::unsupported whatever is to be sealed.
    static Result<SealingKey> from_data_key(Algorithm algorithm, ByteView data_key);

    // Draws the `kms/1 wrap` subkey instead: for wrapping other keys and secrets, whatever the
    // algorithm with suite 0x01. Code::unsupported for a key that seals nothing.
    static Result<SealingKey> wrapping_from_data_key(Algorithm algorithm, ByteView data_key);

    // A subkey that was drawn elsewhere, such as a keyring's own; for xaes-256-gcm 32 bytes.
    static Result<SealingKey> from_subkey(Algorithm algorithm, ByteView subkey, const KeyTag& tag);

    SealingKey(SealingKey&&) noexcept;
    SealingKey& operator=(SealingKey&&) noexcept;
    ~SealingKey();

    Algorithm algorithm() const;
    const KeyTag& tag() const;

    std::size_t sealed_size(std::size_t plaintext_length) const;

    // `out`: exactly sealed_size(plaintext.size()) (else Code::invalid). Code::too_large.
    Status seal(ByteView plaintext, ByteView context, ByteSpan out);

    // `out`: exactly the header's plaintext_length; wiped unless authentic. Code::malformed,
    // Code::wrong_key (the tag or suite is not this key's), Code::corrupt, Code::too_large.
    Status open(ByteView sealed, ByteView context, ByteSpan out);

    // Overwrites every key in place without allocating, locking or freeing, so that a signal
    // handler may call it. Whatever is sealed or opened after it, or at that moment, is
    // Code::internal.
    void wipe() noexcept;

  private:
    struct State;
    explicit SealingKey(std::unique_ptr<State> state);

    std::unique_ptr<State> state_;
};

// Has OpenSSL look up what the first key will need, a quarter of a millisecond, while there is
// something else to wait for.
void prepare_sealing();

}  // namespace kms
