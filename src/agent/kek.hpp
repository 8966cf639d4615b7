// The key-encrypting key (KEK) of a keyring, kept in memory so that it is derived once.
#pragma once

#include <memory>
#include <optional>

#include "agent/kek_source.hpp"
#include "agent/kernel_memory.hpp"
#include "agent/keyring_format.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::agent {

class Kek {
  public:
    // `shared`: where KEKs of passphrases are kept for the next process too.
    explicit Kek(std::unique_ptr<KekSource> source,
                 std::optional<KernelMemory> shared = std::nullopt)
        : source_(std::move(source)), shared_(std::move(shared)) {}

    // A new keyring's recipe, with a fresh salt, its KEK asked for and derived. Nothing is changed
    // yet, and a key file may still be missing.
    Result<KekRecipe> begin();

    // The KEK of the recipe that was begun, for a keyring that depends on it from now on: see
    // KekSource::settle. Valid until the next call.
    Result<ByteView> settle(const KekRecipe& recipe,
                            const std::optional<Owner>& owner = std::nullopt);

    // The KEK by `recipe`, 32 bytes, valid until the next call: remembered, or asked for and
    // derived. Code::wrong_key where the recipe needs another kind of source; else the source's.
    Result<ByteView> by(const KekRecipe& recipe);

    // Whether by() has asked somebody the last time.
    bool has_asked() const { return has_asked_; }

    // Whether by() would ask nobody. What another process has left counts.
    bool remembers(const KekRecipe& recipe);

    void forget();

  private:
    Result<ByteView> ask(const KekRecipe& recipe);
    Result<ByteView> keep(const KekRecipe& recipe, SecretBytes key);
    bool holds(const KekRecipe& recipe) const;

    std::unique_ptr<KekSource> source_;
    std::optional<KernelMemory> shared_;
    KekRecipe recipe_;  // of key_
    SecretBytes key_;   // empty: nothing remembered
    bool has_asked_ = false;
    SecretBytes begun_;  // what the source gave in begin()
};

}  // namespace kms::agent
