// A key store over a keyring in memory: what `serve --ephemeral` speaks to, and what a store over a
// keyring file builds on.
#pragma once

#include <functional>
#include <map>

#include "agent/keyring/key_store.hpp"
#include "agent/keyring/keyring.hpp"
#include "crypto/sealed.hpp"
#include "crypto/search_term.hpp"

namespace kms::agent {

class KeyringStore : public KeyStore {
  public:
    std::vector<std::string_view> capabilities() const override;
    Result<DescribedVersion> describe(ByteView key) override;
    Result<StoredKey> get(ByteView key, const std::optional<KeyTag>& tag) override;
    Status encrypt(ByteView key, ByteView context, ByteView plaintext, ReplyBody& reply) override;
    Status decrypt(ByteView key, ByteView context, ByteView ciphertext, ReplyBody& reply) override;
    Status wrap(ByteView key, ByteView context, ByteView secret, ReplyBody& reply) override;
    Status unwrap(ByteView key, ByteView context, ByteView wrapped, ReplyBody& reply) override;
    Status encrypt_as(ByteView key, const KeyTag& tag, ByteView context, ByteView plaintext,
                      ReplyBody& reply) override;
    Status mac(ByteView key, const WantedTerm& wanted, ReplyBody& reply) override;
    Result<KeyVersion> create(ByteView key, const NewKey& wanted) override;
    Result<KeyVersion> import_version(ByteView key, const ImportedVersion& imported) override;
    Result<KeyVersion> rotate(ByteView key, std::uint32_t after) override;
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

    // What was adopted last.
    const Keyring& adopted() const { return keyring_; }

  private:
    using Entry = Result<const KeyringEntry*>;

    // What a version seals: each has a subkey of its own.
    enum class Use : Byte { values, secrets };

    // Which version of a key is to be used, and for what: the current one, or the one with `tag`.
    struct Wanted {
        ByteView key;
        Use use;
        ByteView context;
        const KeyTag* tag = nullptr;
    };

    // A version and its cipher: pointers that the next change of the keyring invalidates.
    struct Usable {
        const KeyringEntry* entry = nullptr;
        SealingKey* sealing = nullptr;
    };

    Status seal(const Wanted& wanted, ByteView plaintext, ReplyBody& reply);
    Status open(Wanted wanted, ByteView sealed, ReplyBody& reply);

    // Code::denied where the key is for something else.
    static Status check_purpose(const KeyringEntry& entry, const Wanted& wanted);

    // As check_purpose, and Code::disabled unless the version is enabled.
    Result<Usable> usable(const Keyring& ring, const Wanted& wanted);
    Result<Usable> find_usable(const Keyring& ring, const Wanted& wanted);
    bool was_used_last(const Wanted& wanted) const;

    Result<KeyVersion> apply_to_version(const std::function<Entry(Keyring&)>& change);
    Result<SealingKey*> sealing_key(const KeyringEntry& entry, Use use);
    Result<const TermKey*> term_key(const KeyringEntry& entry);

    Keyring keyring_;
    std::map<std::pair<KeyTag, Use>, SealingKey> sealing_;  // made at first use
    std::map<KeyTag, TermKey> terms_;                       // so are these

    // Requests that come by the thousand mostly use one version: it is found without a search.
    Usable last_used_;  // nothing after a change
    std::string last_key_;
    Use last_use_ = Use::values;
    bool last_is_current_ = false;
};

}  // namespace kms::agent
