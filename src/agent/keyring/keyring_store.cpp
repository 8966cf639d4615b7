#include "agent/keyring/keyring_store.hpp"

#include <ctime>

#include "crypto/blob_keys.hpp"
#include "crypto/search_term.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

// A keyring may hold a million versions; their cipher contexts would fill the memory.
constexpr std::size_t most_ready_keys = 1024;

std::int64_t now() {
    return std::time(nullptr);
}

// The current version where `tag` is nullptr.
Result<const KeyringEntry*> chosen(const Keyring& keyring, ByteView key, const KeyTag* tag) {
    return tag != nullptr ? keyring.with_tag(text_of(key), *tag) : keyring.current(text_of(key));
}

}  // namespace

std::vector<std::string_view> KeyringStore::capabilities() const {
    return {wire::verb::describe,        wire::verb::get,           wire::verb::encrypt,
            wire::verb::decrypt,         wire::verb::wrap,          wire::verb::unwrap,
            wire::verb::encrypt_as,      wire::verb::mac,           wire::verb::create,
            wire::verb::import,          wire::verb::rotate,        wire::verb::list,
            wire::verb::enable,          wire::verb::disable,       wire::verb::destroy,
            wire::capability::no_export, wire::capability::purpose, wire::capability::after};
}

Result<DescribedVersion> KeyringStore::describe(ByteView key) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const KeyringEntry* entry, ring->current(text_of(key)));
    return DescribedVersion{version_of(*entry), uses_of(*entry)};
}

Result<StoredKey> KeyringStore::get(ByteView key, const std::optional<KeyTag>& tag) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const KeyringEntry* entry, chosen(*ring, key, tag ? &*tag : nullptr));
    if (entry->no_export) {
        return Error{Code::denied, entry->purpose == wire::Purpose::wrap
                                       ? "the key only wraps, and does not leave the agent"
                                       : "the key does not leave the agent (no-export)"};
    }
    KMS_TRY(check_enabled(*entry));
    return StoredKey{version_of(*entry), SecretBytes::copy_of(entry->key.view())};
}

Status KeyringStore::encrypt(ByteView key, ByteView context, ByteView plaintext, ReplyBody& reply) {
    return seal({key, Use::values, context}, plaintext, reply);
}

Status KeyringStore::decrypt(ByteView key, ByteView context, ByteView ciphertext,
                             ReplyBody& reply) {
    return open({key, Use::values, context}, ciphertext, reply);
}

Status KeyringStore::wrap(ByteView key, ByteView context, ByteView secret, ReplyBody& reply) {
    return seal({key, Use::secrets, context}, secret, reply);
}

Status KeyringStore::unwrap(ByteView key, ByteView context, ByteView wrapped, ReplyBody& reply) {
    return open({key, Use::secrets, context}, wrapped, reply);
}

// At random nobody seals under a version that is not the current one.
Status KeyringStore::encrypt_as(ByteView key, const KeyTag& tag, ByteView context,
                                ByteView plaintext, ReplyBody& reply) {
    const Wanted wanted{key, Use::values, context, &tag};
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const Usable used, usable(*ring, wanted));
    if (!info_of(used.entry->algorithm).is_deterministic()) {
        return Error{Code::unsupported, "encrypt-as needs a key of algorithm aes-256-siv"};
    }
    return seal(wanted, plaintext, reply);
}

Status KeyringStore::mac(ByteView key, const WantedTerm& wanted, ReplyBody& reply) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const KeyringEntry* entry, chosen(*ring, key, wanted.tag ? &*wanted.tag : nullptr));
    KMS_TRY(check_enabled(*entry));
    KMS_ASSIGN(const TermKey* terms, term_key(*entry));
    KMS_ASSIGN(const FullTerm term, terms->make(wanted.bits, wanted.context, wanted.data));
    const KeyVersion version = version_of(*entry);
    KMS_ASSIGN(const ByteSpan out, reply.allot(term.size(), &version));
    copy_bytes(term, out);
    return {};
}

Status KeyringStore::seal(const Wanted& wanted, ByteView plaintext, ReplyBody& reply) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const Usable used, usable(*ring, wanted));
    const KeyVersion version = version_of(*used.entry);
    KMS_ASSIGN(const ByteSpan out,
               reply.allot(used.sealing->sealed_size(plaintext.size()), &version));
    return used.sealing->seal(plaintext, wanted.context, out);
}

Status KeyringStore::open(Wanted wanted, ByteView sealed, ReplyBody& reply) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    KMS_ASSIGN(const SealedHeader header, parse_sealed(sealed));
    wanted.tag = &header.tag;
    KMS_ASSIGN(const Usable used, usable(*ring, wanted));
    const KeyVersion version = version_of(*used.entry);
    KMS_ASSIGN(const ByteSpan out, reply.allot(header.plaintext_length, &version));
    return used.sealing->open(sealed, wanted.context, out);
}

Result<KeyVersion> KeyringStore::create(ByteView key, const NewKey& wanted) {
    return apply_to_version(
        [&](Keyring& ring) { return ring.create(text_of(key), wanted, now()); });
}

Result<KeyVersion> KeyringStore::import_version(ByteView key, const ImportedVersion& imported) {
    return apply_to_version(
        [&](Keyring& ring) { return ring.import_version(text_of(key), imported); });
}

Result<KeyVersion> KeyringStore::rotate(ByteView key, std::uint32_t after) {
    return apply_to_version([&](Keyring& ring) { return ring.rotate(text_of(key), now(), after); });
}

// What is destroyed stays so: whoever asks once more, to be sure, costs no new state of the file.
Status KeyringStore::change_version(ByteView key, std::uint32_t version, wire::VersionState state) {
    KMS_ASSIGN(const Keyring* known, keyring());
    if (state == wire::VersionState::destroyed && known->is_destroyed(text_of(key), version)) {
        return {};
    }
    KMS_ASSIGN(const KeyVersion changed, apply_to_version([&](Keyring& ring) {
                   return ring.change_state(text_of(key), version, state);
               }));
    sealing_.erase({changed.tag, Use::values});
    sealing_.erase({changed.tag, Use::secrets});
    terms_.erase(changed.tag);
    return {};
}

Result<std::vector<wire::ListedVersion>> KeyringStore::list(ByteView prefix) {
    KMS_ASSIGN(const Keyring* ring, keyring());
    std::vector<wire::ListedVersion> listed;
    const auto [first, last] = ring->with_prefix(text_of(prefix));
    for (auto key = first; key != last; ++key) {
        for (const KeyringEntry& entry : key->second) {
            listed.push_back({key->first, entry.version, std::string(info_of(entry.algorithm).name),
                              entry.tag, entry.state, entry.created, uses_of(entry)});
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

Status KeyringStore::apply(const Change& change) {
    last_used_ = {};
    return change(keyring_);
}

void KeyringStore::adopt(Keyring keyring) {
    last_used_ = {};
    sealing_.clear();
    terms_.clear();
    keyring_ = std::move(keyring);
}

Status KeyringStore::check_purpose(const KeyringEntry& entry, const Wanted& wanted) {
    if (wanted.use == Use::values && entry.purpose == wire::Purpose::wrap) {
        return Error{Code::denied, "the key only wraps (purpose wrap)"};
    }
    if (wanted.use == Use::secrets && entry.purpose == wire::Purpose::seal &&
        !is_blob_key_context(wanted.context)) {
        return Error{Code::denied,
                     "the key seals, and wraps the keys of blobs alone (purpose seal): other keys "
                     "and secrets need a key of purpose wrap"};
    }
    return {};
}

Result<KeyringStore::Usable> KeyringStore::usable(const Keyring& ring, const Wanted& wanted) {
    if (was_used_last(wanted)) {
        KMS_TRY(check_purpose(*last_used_.entry, wanted));
        return last_used_;
    }
    last_used_ = {};
    KMS_ASSIGN(const Usable found, find_usable(ring, wanted));
    last_key_ = text_of(wanted.key);
    last_use_ = wanted.use;
    last_is_current_ = wanted.tag == nullptr;
    last_used_ = found;
    return found;
}

bool KeyringStore::was_used_last(const Wanted& wanted) const {
    return last_used_.entry != nullptr && wanted.use == last_use_ &&
           text_of(wanted.key) == last_key_ &&
           (wanted.tag == nullptr ? last_is_current_ : last_used_.entry->tag == *wanted.tag);
}

Result<KeyringStore::Usable> KeyringStore::find_usable(const Keyring& ring, const Wanted& wanted) {
    KMS_ASSIGN(const KeyringEntry* entry, chosen(ring, wanted.key, wanted.tag));
    KMS_TRY(check_purpose(*entry, wanted));
    KMS_TRY(check_enabled(*entry));
    KMS_ASSIGN(SealingKey * sealing, sealing_key(*entry, wanted.use));
    return Usable{entry, sealing};
}

Result<SealingKey*> KeyringStore::sealing_key(const KeyringEntry& entry, Use use) {
    const auto found = sealing_.find({entry.tag, use});
    if (found != sealing_.end()) {
        return &found->second;
    }
    if (sealing_.size() >= most_ready_keys) {
        sealing_.clear();
    }
    const auto make =
        use == Use::values ? SealingKey::from_data_key : SealingKey::wrapping_from_data_key;
    KMS_ASSIGN(SealingKey made, make(entry.algorithm, entry.key.view()));
    if (made.tag() != entry.tag) {
        return Error{Code::corrupt, "the keyring is damaged: a key has another tag"};
    }
    return &sealing_.emplace(std::pair(entry.tag, use), std::move(made)).first->second;
}

Result<const TermKey*> KeyringStore::term_key(const KeyringEntry& entry) {
    const auto found = terms_.find(entry.tag);
    if (found != terms_.end()) {
        return &found->second;
    }
    if (terms_.size() >= most_ready_keys) {
        terms_.clear();
    }
    KMS_ASSIGN(TermKey made, TermKey::from_data_key(entry.algorithm, entry.key.view()));
    return &terms_.emplace(entry.tag, std::move(made)).first->second;
}

}  // namespace kms::agent
