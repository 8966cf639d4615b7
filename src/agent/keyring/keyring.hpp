// A keyring as a value in memory: keys, their versions, and the rules for both.
//
// Versions count from 1 up; the newest is the current one, whatever its state. Numbers are left out
// where somebody knows that they were used before an older keyring was put back. All versions of a
// key have its algorithm, its purpose and its no-export mark. A destroyed version keeps its record
// and its tag, so its number and its key never come back.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/keyring/key_store.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/algorithm.hpp"
#include "wire/verbs.hpp"

namespace kms::agent {

constexpr std::size_t max_identifier = 1024;  // bytes, any bytes

struct KeyringEntry {
    std::uint32_t version = 1;
    Algorithm algorithm = default_algorithm;
    wire::VersionState state = wire::VersionState::enabled;
    wire::Purpose purpose = wire::Purpose::seal;
    bool no_export = false;    // always of a key that wraps
    std::int64_t created = 0;  // seconds since 1970, UTC
    KeyTag tag{};
    SecretBytes key;  // empty once destroyed
};

// Code::invalid unless 1 to 1,024 bytes.
Status check_identifier(std::string_view key);

// Code::disabled, with a sentence, unless the version is enabled.
Status check_enabled(const KeyringEntry& entry);

// Pointers into a keyring are valid until its next change.
class Keyring {
  public:
    using Versions = std::vector<KeyringEntry>;  // numbers rise
    using Keys = std::map<std::string, Versions, std::less<>>;

    // Code::invalid: the identifier exists; the key has the wrong length, is weak, or the keyring
    // holds it.
    Result<const KeyringEntry*> create(std::string_view key, const NewKey& wanted,
                                       std::int64_t now);

    // A version that was made elsewhere: the first of a key that seals and may leave, or one more.
    // Code::invalid: the number is not above those that the key has, its algorithm is another, the
    // key has another tag, or cannot be imported at all. Code::denied: the key here is one that
    // wraps, or does not leave.
    Result<const KeyringEntry*> import_version(std::string_view key,
                                               const ImportedVersion& imported);

    // A new version at random, whose number is above `after` too. Code::not_found; Code::failed
    // when the numbers are used up.
    Result<const KeyringEntry*> rotate(std::string_view key, std::int64_t now,
                                       std::uint32_t after = 0);

    // Destroying wipes the key. Asking for the state that is there is no error, except that
    // nothing but `destroyed` can be asked of a destroyed version (Code::disabled).
    // Code::not_found.
    Result<const KeyringEntry*> change_state(std::string_view key, std::uint32_t version,
                                             wire::VersionState state);

    bool is_destroyed(std::string_view key, std::uint32_t version) const;

    // Code::not_found.
    Result<const KeyringEntry*> current(std::string_view key) const;

    // Code::not_found: no such key. Code::wrong_key: none of its versions has the tag.
    Result<const KeyringEntry*> with_tag(std::string_view key, const KeyTag& tag) const;

    const Keys& keys() const { return keys_; }

    // The range of keys() whose identifiers begin with `prefix`.
    std::pair<Keys::const_iterator, Keys::const_iterator> with_prefix(
        std::string_view prefix) const;

    // Whether all that `older` holds is here under the same numbers, and nothing that is destroyed
    // there has come back.
    bool continues(const Keyring& older) const;

    // Whether both hold the same versions, in the same states.
    bool is_like(const Keyring& other) const;

    // The same keys and versions without what they seal with.
    Keyring record() const;

    // Puts an entry of a stored keyring back. Code::corrupt where it breaks a rule.
    Status restore(std::string_view key, KeyringEntry entry);

  private:
    Result<const KeyringEntry*> add(std::string_view key, KeyringEntry entry);

    Keys keys_;
    std::map<KeyTag, std::uint32_t> tags_;  // of every version of every key, destroyed ones too
};

KeyVersion version_of(const KeyringEntry& entry);
wire::KeyUses uses_of(const KeyringEntry& entry);

}  // namespace kms::agent
