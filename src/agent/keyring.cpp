#include "agent/keyring.hpp"

#include <algorithm>
#include <set>

#include "base/escape.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

using wire::VersionState;

constexpr std::int64_t last_second = 253402300799;  // of the year 9999

Error no_such_key(std::string_view key) {
    return {Code::not_found, "there is no key " + escape(Alphabet::identifier, bytes_of(key))};
}

Error broken(std::string_view rule) {
    return {Code::corrupt, "the keyring is damaged: " + std::string(rule)};
}

Result<SecretBytes> random_key(Algorithm algorithm) {
    SecretBytes key(info_of(algorithm).key_length);
    KMS_TRY(random_secret(key.span()));
    return key;
}

bool counts(ByteView key) {
    const auto step = static_cast<Byte>(key[1] - key[0]);
    return std::ranges::adjacent_find(key, [step](Byte left, Byte right) {
               return static_cast<Byte>(right - left) != step;
           }) == key.end();
}

bool repeats(ByteView key) {
    const std::size_t half = key.size() / 2;
    return std::ranges::equal(key.first(half), key.subspan(half));
}

bool has_few_values(ByteView key) {
    return 4 * std::set<Byte>(key.begin(), key.end()).size() <= key.size();
}

// What a key that was drawn at random looks like once in 2^60 times.
bool is_weak(ByteView key) {
    return counts(key) || repeats(key) || has_few_values(key);
}

// Of a key from outside.
Status check_key(Algorithm algorithm, ByteView key) {
    const std::size_t length = info_of(algorithm).key_length;
    if (key.size() != length) {
        return Error{Code::invalid, "a key for " + std::string(info_of(algorithm).name) + " has " +
                                        std::to_string(length) + " bytes"};
    }
    if (is_weak(key)) {
        return Error{Code::invalid,
                     "the key to import is weak: its bytes repeat or count, as those of a key that "
                     "was drawn at random never do"};
    }
    return {};
}

std::size_t stored_key_length(const KeyringEntry& entry) {
    return entry.state == VersionState::destroyed ? 0 : info_of(entry.algorithm).key_length;
}

bool continues(const Keyring::Versions& versions, const KeyringEntry& entry) {
    if (versions.empty()) {
        return entry.version == 1;
    }
    const KeyringEntry& last = versions.back();
    return entry.version == last.version + 1 && entry.algorithm == last.algorithm &&
           entry.no_export == last.no_export;
}

}  // namespace

Status check_identifier(std::string_view key) {
    if (key.empty() || key.size() > max_identifier) {
        return Error{Code::invalid, "a key identifier has 1 to 1024 bytes"};
    }
    return {};
}

Status check_enabled(const KeyringEntry& entry) {
    if (entry.state == VersionState::enabled) {
        return {};
    }
    return Error{Code::disabled, "version " + std::to_string(entry.version) + " is " +
                                     std::string(wire::state_word(entry.state))};
}

KeyVersion version_of(const KeyringEntry& entry) {
    return {entry.version, entry.algorithm, entry.tag};
}

Result<const KeyringEntry*> Keyring::create(std::string_view key, const NewKey& wanted,
                                            std::int64_t now) {
    KMS_TRY(check_identifier(key));
    if (keys_.contains(key)) {
        return Error{Code::invalid,
                     "the key " + escape(Alphabet::identifier, bytes_of(key)) + " exists already"};
    }
    KeyringEntry entry;
    entry.algorithm = wanted.algorithm;
    entry.no_export = wanted.no_export;
    entry.created = now;
    entry.key = SecretBytes::copy_of(wanted.key);
    if (wanted.key.empty()) {
        KMS_ASSIGN(entry.key, random_key(wanted.algorithm));
    } else {
        KMS_TRY(check_key(wanted.algorithm, wanted.key));
    }
    return add(key, std::move(entry));
}

Result<const KeyringEntry*> Keyring::rotate(std::string_view key, std::int64_t now) {
    KMS_ASSIGN(const KeyringEntry* newest, current(key));
    if (newest->version == wire::max_version) {
        return Error{Code::failed, "the key has no version numbers left"};
    }
    KeyringEntry entry;
    entry.version = newest->version + 1;
    entry.algorithm = newest->algorithm;
    entry.no_export = newest->no_export;
    entry.created = now;
    KMS_ASSIGN(entry.key, random_key(entry.algorithm));
    return add(key, std::move(entry));
}

Result<const KeyringEntry*> Keyring::add(std::string_view key, KeyringEntry entry) {
    KMS_ASSIGN(entry.tag, compute_key_tag(entry.algorithm, entry.key.view()));
    if (!tags_.emplace(entry.tag, entry.version).second) {
        return Error{Code::invalid, "the keyring holds this key already, under the tag " +
                                        wire::tag_word(entry.tag)};
    }
    Versions& versions = keys_.try_emplace(std::string(key)).first->second;
    versions.push_back(std::move(entry));
    return &versions.back();
}

Result<const KeyringEntry*> Keyring::change_state(std::string_view key, std::uint32_t version,
                                                  VersionState state) {
    const auto found = keys_.find(key);
    if (found == keys_.end()) {
        return no_such_key(key);
    }
    if (version == 0 || version > found->second.size()) {
        return Error{Code::not_found, "the key has no version " + std::to_string(version)};
    }
    KeyringEntry& entry = found->second[version - 1];
    if (entry.state == VersionState::destroyed && state != VersionState::destroyed) {
        return check_enabled(entry).error();
    }
    entry.state = state;
    if (state == VersionState::destroyed) {
        entry.key.release();
    }
    return &entry;
}

Result<const KeyringEntry*> Keyring::current(std::string_view key) const {
    const auto found = keys_.find(key);
    if (found == keys_.end()) {
        return no_such_key(key);
    }
    return &found->second.back();
}

Result<const KeyringEntry*> Keyring::with_tag(std::string_view key, const KeyTag& tag) const {
    const auto found = keys_.find(key);
    if (found == keys_.end()) {
        return no_such_key(key);
    }
    const auto tagged = tags_.find(tag);
    const Versions& versions = found->second;
    if (tagged == tags_.end() || tagged->second > versions.size() ||
        versions[tagged->second - 1].tag != tag) {
        return Error{Code::wrong_key, "no version of the key has the tag " + wire::tag_word(tag)};
    }
    return &versions[tagged->second - 1];
}

std::pair<Keyring::Keys::const_iterator, Keyring::Keys::const_iterator> Keyring::with_prefix(
    std::string_view prefix) const {
    const auto first = keys_.lower_bound(prefix);
    auto last = first;
    while (last != keys_.end() && last->first.starts_with(prefix)) {
        ++last;
    }
    return {first, last};
}

Status Keyring::restore(std::string_view key, KeyringEntry entry) {
    if (!check_identifier(key)) {
        return broken("an identifier is empty or too long");
    }
    if (entry.key.size() != stored_key_length(entry)) {
        return broken("a key has the wrong length");
    }
    if (entry.created < 0 || entry.created > last_second) {
        return broken("a key was created outside of time");
    }
    Versions& versions = keys_.try_emplace(std::string(key)).first->second;
    if (!continues(versions, entry)) {
        return broken("the versions of a key do not follow each other");
    }
    if (!tags_.emplace(entry.tag, entry.version).second) {
        return broken("two versions have one tag");
    }
    versions.push_back(std::move(entry));
    return {};
}

}  // namespace kms::agent
