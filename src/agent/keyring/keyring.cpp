#include "agent/keyring/keyring.hpp"

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

// Of a version from outside.
Status check_imported(const ImportedVersion& imported) {
    if (imported.created < 0 || imported.created > last_second) {
        return Error{Code::invalid, "a key was created in the years 1970 to 9999"};
    }
    if (imported.state == VersionState::destroyed) {
        return imported.key.empty() ? Status()
                                    : Error{Code::invalid, "a destroyed version has no key"};
    }
    const KeyVersion& version = imported.version;
    KMS_TRY(check_key(version.algorithm, imported.key));
    KMS_ASSIGN(const KeyTag tag, compute_key_tag(version.algorithm, imported.key));
    if (tag != version.tag) {
        return Error{Code::invalid, "the key to import has the tag " + wire::tag_word(tag)};
    }
    return {};
}

// nullptr: there is no such version. Keyring::Versions, const or not.
template <typename Versions>
auto find_version(Versions& versions, std::uint32_t version) -> decltype(versions.data()) {
    const auto found = std::ranges::lower_bound(versions, version, {}, &KeyringEntry::version);
    return found != versions.end() && found->version == version ? &*found : nullptr;
}

// What was restored from a backup may lack one in the middle.
Status check_joins(const Keyring::Versions& versions, const KeyringEntry& next) {
    const KeyringEntry& newest = versions.back();
    if (newest.no_export) {
        return Error{Code::denied,
                     "the key here does not leave the agent, nor does one come to it"};
    }
    if (newest.algorithm != next.algorithm) {
        return Error{Code::invalid,
                     "the key is one of " + std::string(info_of(newest.algorithm).name)};
    }
    if (find_version(versions, next.version) != nullptr) {
        return Error{Code::invalid,
                     "the key has a version " + std::to_string(next.version) + " already"};
    }
    return {};
}

std::size_t stored_key_length(const KeyringEntry& entry) {
    return entry.state == VersionState::destroyed ? 0 : info_of(entry.algorithm).key_length;
}

bool follows(const Keyring::Versions& versions, const KeyringEntry& entry) {
    if (entry.version == 0 || entry.version > wire::max_version) {
        return false;
    }
    return versions.empty() || (entry.version > versions.back().version &&
                                entry.algorithm == versions.back().algorithm &&
                                entry.purpose == versions.back().purpose &&
                                entry.no_export == versions.back().no_export);
}

// Code::failed when the numbers are used up.
Result<std::uint32_t> number_after(std::uint32_t last, std::uint32_t known) {
    const std::uint32_t highest = std::max(last, known);
    if (highest >= wire::max_version) {
        return Error{Code::failed, "the key has no version numbers left"};
    }
    return highest + 1;
}

bool may_become(VersionState before, VersionState after) {
    return before != VersionState::destroyed || after == VersionState::destroyed;
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

wire::KeyUses uses_of(const KeyringEntry& entry) {
    return {std::string(wire::purpose_word(entry.purpose)), !entry.no_export};
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
    if (wanted.purpose == wire::Purpose::wrap && !info_of(wanted.algorithm).seals()) {
        return Error{Code::invalid,
                     "a key of algorithm hmac-sha-256 cannot wrap: it makes search terms"};
    }
    KeyringEntry entry;
    KMS_ASSIGN(entry.version, number_after(0, wanted.after));
    entry.algorithm = wanted.algorithm;
    entry.purpose = wanted.purpose;
    entry.no_export = wanted.no_export || wanted.purpose == wire::Purpose::wrap;
    entry.created = now;
    entry.key = SecretBytes::copy_of(wanted.key);
    if (wanted.key.empty()) {
        KMS_ASSIGN(entry.key, random_key(wanted.algorithm));
    } else {
        KMS_TRY(check_key(wanted.algorithm, wanted.key));
    }
    KMS_ASSIGN(entry.tag, compute_key_tag(entry.algorithm, entry.key.view()));
    return add(key, std::move(entry));
}

Result<const KeyringEntry*> Keyring::rotate(std::string_view key, std::int64_t now,
                                            std::uint32_t after) {
    KMS_ASSIGN(const KeyringEntry* newest, current(key));
    KeyringEntry entry;
    KMS_ASSIGN(entry.version, number_after(newest->version, after));
    entry.algorithm = newest->algorithm;
    entry.purpose = newest->purpose;
    entry.no_export = newest->no_export;
    entry.created = now;
    KMS_ASSIGN(entry.key, random_key(entry.algorithm));
    KMS_ASSIGN(entry.tag, compute_key_tag(entry.algorithm, entry.key.view()));
    return add(key, std::move(entry));
}

Result<const KeyringEntry*> Keyring::import_version(std::string_view key,
                                                    const ImportedVersion& imported) {
    KMS_TRY(check_identifier(key));
    KMS_TRY(check_imported(imported));
    KeyringEntry entry;
    entry.version = imported.version.version;
    entry.algorithm = imported.version.algorithm;
    entry.state = imported.state;
    entry.created = imported.created;
    entry.tag = imported.version.tag;
    entry.key = SecretBytes::copy_of(imported.key);
    if (const auto found = keys_.find(key); found != keys_.end()) {
        KMS_TRY(check_joins(found->second, entry));
    }
    return add(key, std::move(entry));
}

Result<const KeyringEntry*> Keyring::add(std::string_view key, KeyringEntry entry) {
    if (!tags_.emplace(entry.tag, entry.version).second) {
        return Error{Code::invalid, "the keyring holds this key already, under the tag " +
                                        wire::tag_word(entry.tag)};
    }
    Versions& versions = keys_.try_emplace(std::string(key)).first->second;
    const auto place =
        std::ranges::lower_bound(versions, entry.version, {}, &KeyringEntry::version);
    return &*versions.insert(place, std::move(entry));
}

Result<const KeyringEntry*> Keyring::change_state(std::string_view key, std::uint32_t version,
                                                  VersionState state) {
    const auto found = keys_.find(key);
    if (found == keys_.end()) {
        return no_such_key(key);
    }
    KeyringEntry* entry = find_version(found->second, version);
    if (entry == nullptr) {
        return Error{Code::not_found, "the key has no version " + std::to_string(version)};
    }
    if (!may_become(entry->state, state)) {
        return check_enabled(*entry).error();
    }
    entry->state = state;
    if (state == VersionState::destroyed) {
        entry->key.release();
    }
    return entry;
}

bool Keyring::is_destroyed(std::string_view key, std::uint32_t version) const {
    const auto found = keys_.find(key);
    const KeyringEntry* entry =
        found != keys_.end() ? find_version(found->second, version) : nullptr;
    return entry != nullptr && entry->state == VersionState::destroyed;
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
    const KeyringEntry* entry =
        tagged != tags_.end() ? find_version(found->second, tagged->second) : nullptr;
    if (entry == nullptr || entry->tag != tag) {
        return Error{Code::wrong_key, "no version of the key has the tag " + wire::tag_word(tag)};
    }
    return entry;
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

bool Keyring::continues(const Keyring& older) const {
    for (const auto& [key, versions] : older.keys_) {
        for (const KeyringEntry& before : versions) {
            const auto now = with_tag(key, before.tag);
            if (!now || (*now)->version != before.version ||
                !may_become(before.state, (*now)->state)) {
                return false;
            }
        }
    }
    return true;
}

bool Keyring::is_like(const Keyring& other) const {
    const auto same_entry = [](const KeyringEntry& one, const KeyringEntry& another) {
        return one.version == another.version && one.tag == another.tag &&
               one.state == another.state;
    };
    const auto same_key = [&](const auto& one, const auto& another) {
        return one.first == another.first &&
               std::ranges::equal(one.second, another.second, same_entry);
    };
    return std::ranges::equal(keys_, other.keys_, same_key);
}

Keyring Keyring::record() const {
    Keyring record;
    record.tags_ = tags_;
    for (const auto& [key, versions] : keys_) {
        Versions& recorded = record.keys_[key];
        for (const KeyringEntry& entry : versions) {
            recorded.push_back({entry.version, entry.algorithm, entry.state, entry.purpose,
                                entry.no_export, entry.created, entry.tag, SecretBytes()});
        }
    }
    return record;
}

Status Keyring::restore(std::string_view key, KeyringEntry entry) {
    if (!check_identifier(key)) {
        return broken("an identifier is empty or too long");
    }
    if (entry.key.size() != stored_key_length(entry)) {
        return broken("a key has the wrong length");
    }
    if (entry.purpose == wire::Purpose::wrap && !entry.no_export) {
        return broken("a key that wraps may leave");
    }
    if (entry.created < 0 || entry.created > last_second) {
        return broken("a key was created outside of time");
    }
    Versions& versions = keys_.try_emplace(std::string(key)).first->second;
    if (!follows(versions, entry)) {
        return broken("the versions of a key do not follow each other");
    }
    if (!tags_.emplace(entry.tag, entry.version).second) {
        return broken("two versions have one tag");
    }
    versions.push_back(std::move(entry));
    return {};
}

}  // namespace kms::agent
