// A key store over a keyring in memory: what `serve --ephemeral` speaks to, and what a store over a
// keyring file builds on.
#pragma once

#include <functional>
#include <map>

#include "agent/key_store.hpp"
#include "agent/keyring.hpp"
#include "crypto/sealed.hpp"

namespace kms::agent {

class KeyringStore : public KeyStore {
  public:
    std::vector<std::string_view> capabilities() const override;
    Result<KeyVersion> describe(ByteView key) override;
    Result<StoredKey> get(ByteView key, const std::optional<KeyTag>& tag) override;
    Status encrypt(ByteView key, ByteView context, ByteView plaintext, ReplyBody& reply) override;
    Status decrypt(ByteView key, ByteView context, ByteView ciphertext, ReplyBody& reply) override;
    Result<KeyVersion> create(ByteView key, const NewKey& wanted) override;
    Result<KeyVersion> rotate(ByteView key) override;
    Status change_version(ByteView key, std::uint32_t version, wire::VersionState state) override;
    Result<std::vector<wire::ListedVersion>> list(ByteView prefix) override;

  protected:
    using Change = std::function<Status(Keyring&)>;

    // The keyring to answer from, or why there is none.
    virtual Result<const Keyring*> keyring() { return &keyring_; }

    // Carries out a change that others shall see.
    virtual Status apply(const Change& change);

    // Another state of the keyring from now on. Wipes the old one and what was derived from it.
    void adopt(Keyring keyring);

  private:
    using Entry = Result<const KeyringEntry*>;

    // A version and its cipher: pointers that the next change of the keyring invalidates.
    struct Usable {
        const KeyringEntry* entry = nullptr;
        SealingKey* sealing = nullptr;
    };

    // The current version, or the one with `tag`. Code::disabled unless it is enabled.
    Result<Usable> usable(const Keyring& ring, ByteView key, const KeyTag* tag);
    Result<Usable> find_usable(const Keyring& ring, ByteView key, const KeyTag* tag);
    bool was_used_last(ByteView key, const KeyTag* tag) const;

    Result<KeyVersion> apply_to_version(const std::function<Entry(Keyring&)>& change);
    Result<SealingKey*> sealing_key(const KeyringEntry& entry);

    Keyring keyring_;
    std::map<KeyTag, SealingKey> sealing_;  // made at first use

    // Requests that come by the thousand mostly use one version: it is found without a search.
    Usable last_used_;  // nothing after a change
    std::string last_key_;
    bool last_is_current_ = false;
};

}  // namespace kms::agent
