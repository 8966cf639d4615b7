#include "agent/keyring_store.hpp"

#include <ctime>

#include "base/floor.hpp"

namespace kms::agent {
namespace {

// A keyring may hold a million versions; their cipher contexts would fill the memory.
constexpr std::size_t most_sealing_keys = 1024;

std::int64_t now() {
    return std::time(nullptr);
}

Result<const KeyringEntry*> chosen(const Keyring& keyring, ByteView key,
                                   const std::optional<KeyTag>& tag) {
    return tag ? keyring.with_tag(text_of(key), *tag) : keyring.current(text_of(key));
}

}  // namespace

std::vector<std::string_view> KeyringStore::capabilities() const {
    return {
        wire::verb::describe, wire::verb::get,     wire::verb::encrypt,        wire::verb::decrypt,
        wire::verb::create,   wire::verb::rotate,  wire::verb::list,           wire::verb::enable,
        wire::verb::disable,  wire::verb::destroy, wire::capability::no_export};
}

Result<KeyVersion> KeyringStore::describe(ByteView key) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const KeyringEntry* entry, ring->current(text_of(key)));
    return version_of(*entry);
}

Result<StoredKey> KeyringStore::get(ByteView key, const std::optional<KeyTag>& tag) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const KeyringEntry* entry, chosen(*ring, key, tag));
    if (entry->no_export) {
        return Error{Code::denied, "the key does not leave the agent (no-export)"};
    }
    KMS_TRY(check_enabled(*entry));
    return StoredKey{version_of(*entry), SecretBytes::copy_of(entry->key.view())};
}

Status KeyringStore::encrypt(ByteView key, ByteView context, ByteView plaintext, ReplyBody& reply) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const KeyringEntry* entry, ring->current(text_of(key)));
    KMS_TRY(check_enabled(*entry));
    KMS_ASSIGN(SealingKey * sealing, sealing_key(*entry));
    const KeyVersion version = version_of(*entry);
    KMS_ASSIGN(const ByteSpan out, reply.allot(sealing->sealed_size(plaintext.size()), &version));
    return sealing->seal(plaintext, context, out);
}

Status KeyringStore::decrypt(ByteView key, ByteView context, ByteView ciphertext,
                             ReplyBody& reply) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const SealedHeader header, parse_sealed(ciphertext));
    KMS_ASSIGN(const KeyringEntry* entry, ring->with_tag(text_of(key), header.tag));
    KMS_TRY(check_enabled(*entry));
    KMS_ASSIGN(SealingKey * sealing, sealing_key(*entry));
    KMS_ASSIGN(const ByteSpan out, reply.allot(header.plaintext_length, nullptr));
    return sealing->open(ciphertext, context, out);
}

Result<KeyVersion> KeyringStore::create(ByteView key, const NewKey& wanted) {
    return apply_to_version(
        [&](Keyring& ring) { return ring.create(text_of(key), wanted, now()); });
}

Result<KeyVersion> KeyringStore::rotate(ByteView key) {
    return apply_to_version([&](Keyring& ring) { return ring.rotate(text_of(key), now()); });
}

Status KeyringStore::change_version(ByteView key, std::uint32_t version, wire::VersionState state) {
    KMS_ASSIGN(const KeyVersion changed, apply_to_version([&](Keyring& ring) {
                   return ring.change_state(text_of(key), version, state);
               }));
    sealing_.erase(changed.tag);
    return {};
}

Result<std::vector<wire::ListedVersion>> KeyringStore::list(ByteView prefix) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    std::vector<wire::ListedVersion> listed;
    const auto [first, last] = ring->with_prefix(text_of(prefix));
    for (auto key = first; key != last; ++key) {
        for (const KeyringEntry& entry : key->second) {
            listed.push_back({key->first, entry.version, std::string(info_of(entry.algorithm).name),
                              entry.tag, entry.state, entry.created});
        }
    }
    return listed;
}

Result<KeyVersion> KeyringStore::apply_to_version(const std::function<Entry(Keyring&)>& change) {
    KeyVersion changed{};
    KMS_TRY(apply([&](Keyring& ring) -> Status {
        KMS_ASSIGN(const KeyringEntry* entry, change(ring));
        changed = version_of(*entry);
        return {};
    }));
    return changed;
}

void KeyringStore::adopt(Keyring keyring) {
    sealing_.clear();
    keyring_ = std::move(keyring);
}

Result<SealingKey*> KeyringStore::sealing_key(const KeyringEntry& entry) {
    const auto found = sealing_.find(entry.tag);
    if (found != sealing_.end()) {
        return &found->second;
    }
    if (sealing_.size() >= most_sealing_keys) {
        sealing_.clear();
    }
    KMS_ASSIGN(SealingKey made, SealingKey::from_data_key(entry.algorithm, entry.key.view()));
    if (made.tag() != entry.tag) {
        return Error{Code::corrupt, "the keyring is damaged: a key has another tag"};
    }
    return &sealing_.emplace(entry.tag, std::move(made)).first->second;
}

}  // namespace kms::agent
