// The bytes of a keyring file (doc/formats.md, "Keyring file"). Numbers are big-endian.
//
//     header = "kmsring1"(8) | keyring id(16) | generation(8) | kdf(1) | scrypt log2 N(1), r(1),
//     p(1)
//            | salt(32) | guard length(4) | guard
//     body   = sealed value of suite 0x01 under HKDF-SHA256(unlock key, "kms/1 keyring"), context =
//     header
//
// The sealed entries are sorted by identifier (as bytes), then by version:
//
//     entries = format(1) = 1 | count(4) | entry...
//     entry   = identifier length(2) | identifier | version(4) | algorithm(1) | state(1)
//             | purpose(1) | no-export(1) | created(8) | tag(8) | key length(1) | key
//
// algorithm: 1 xaes-256-gcm, 2 aes-256-siv, 3 aes-128-gcm, 4 aes-192-gcm, 5 aes-256-gcm;
// state: 1 enabled, 2 disabled, 3 destroyed (then the key's length is 0); purpose: 1 seal, 2 wrap;
// no-export: 0 or 1, of a key that wraps 1; created: seconds since 1970. There is one way to write
// a keyring, and nothing else is read.
#pragma once

#include <array>

#include "agent/keyring/keyring.hpp"
#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/kdf.hpp"

namespace kms::agent {

constexpr std::size_t max_keyring_size = std::size_t{64} << 20;
constexpr std::size_t unlock_key_length = 32;

enum class Kdf : Byte { key_file = 0, scrypt = 1, guarded = 2 };

// How the unlock key comes from what the administrator keeps. A key file has no cost and no salt:
// zeros.
struct UnlockRecipe {
    Kdf kdf = Kdf::key_file;
    ScryptCost cost{0, 0, 0};
    std::array<Byte, 32> salt{};
};
bool operator==(const UnlockRecipe& left, const UnlockRecipe& right);

using KeyringId = std::array<Byte, 16>;

struct KeyringHeader {
    KeyringId id{};
    std::uint64_t generation = 1;
    UnlockRecipe recipe;
};

// Code::malformed: no keyring, or cut short. Code::unsupported: another version of the format, or a
// way of protection that this build does not know.
Result<KeyringHeader> parse_header(ByteView file);

// As parse_header, and Code::wrong_key: sealed under another unlock key; Code::corrupt: damaged.
Result<Keyring> open_keyring(ByteView file, ByteView unlock_key);

// Code::too_large beyond 64 MiB.
Result<SecretBytes> seal_keyring(const KeyringHeader& header, const Keyring& keyring,
                                 ByteView unlock_key);

// What is sealed. Code::corrupt for anything but what write_entries writes.
SecretBytes write_entries(const Keyring& keyring);
Result<Keyring> parse_entries(ByteView bytes);

}  // namespace kms::agent
