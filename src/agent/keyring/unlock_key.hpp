// The key-encrypting key (unlock key) of a keyring, kept in memory so that it is derived once.
#pragma once

#include <memory>
#include <optional>

#include "agent/keyring/kernel_memory.hpp"
#include "agent/keyring/keyring_format.hpp"
#include "agent/keyring/unlock_source.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::agent {

class UnlockKey {
  public:
    // `shared`: where unlock keys of passphrases are kept for the next process too.
    explicit UnlockKey(std::unique_ptr<UnlockSource> source,
                       std::optional<KernelMemory> shared = std::nullopt)
        : source_(std::move(source)), shared_(std::move(shared)) {}

    // A new keyring's recipe, with a fresh salt, its unlock key asked for and derived. Nothing is
    // changed yet, and a key file may still be missing.
    Result<UnlockRecipe> begin();

    // The unlock key of the recipe that was begun, for a keyring that depends on it from now on:
    // see UnlockSource::settle. Valid until the next call.
    Result<ByteView> settle(const UnlockRecipe& recipe,
                            const std::optional<Owner>& owner = std::nullopt);

    // The unlock key by `recipe`, 32 bytes, valid until the next call: remembered, or asked for and
    // derived. Code::wrong_key where the recipe needs another kind of source; else the source's.
    Result<ByteView> by(const UnlockRecipe& recipe);

    // Whether by() has asked somebody the last time.
    bool has_asked() const { return has_asked_; }

    // Whether by() would ask nobody. What another process has left counts.
    bool remembers(const UnlockRecipe& recipe);

    void forget();

  private:
    Result<ByteView> ask(const UnlockRecipe& recipe);
    Result<ByteView> keep(const UnlockRecipe& recipe, SecretBytes key);
    bool holds(const UnlockRecipe& recipe) const;

    std::unique_ptr<UnlockSource> source_;
    std::optional<KernelMemory> shared_;
    UnlockRecipe recipe_;  // of key_
    SecretBytes key_;      // empty: nothing remembered
    bool has_asked_ = false;
    SecretBytes begun_;  // what the source gave in begin()
};

}  // namespace kms::agent
