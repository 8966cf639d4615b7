#include "agent/keyring/unlock_key.hpp"

#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

Error wrong_kind(Kdf needed) {
    if (needed == Kdf::key_file) {
        return {Code::wrong_key, "the keyring is protected by a key file: give --key-file"};
    }
    return {Code::wrong_key,
            "the keyring is protected by a passphrase and not by a key file: give "
            "--passphrase-command, or neither to be asked"};
}

}  // namespace

Result<UnlockRecipe> UnlockKey::begin() {
    UnlockRecipe recipe;
    recipe.kdf = source_->kdf();
    if (recipe.kdf == Kdf::scrypt) {
        recipe.cost = ScryptCost{};
        KMS_TRY(random_public(recipe.salt));
    }
    if (!source_->is_missing()) {
        KMS_ASSIGN(begun_, source_->ask());
    }
    if (recipe.kdf == Kdf::scrypt) {
        KMS_TRY(keep(recipe, SecretBytes::copy_of(begun_.view())));
    }
    return recipe;
}

Result<ByteView> UnlockKey::settle(const UnlockRecipe& recipe, const std::optional<Owner>& owner) {
    KMS_ASSIGN(SecretBytes key, source_->settle(std::move(begun_), owner));
    return recipe.kdf == Kdf::scrypt ? by(recipe) : keep(recipe, std::move(key));
}

Result<ByteView> UnlockKey::by(const UnlockRecipe& recipe) {
    has_asked_ = false;
    if (remembers(recipe)) {
        return key_.view();
    }
    if (recipe.kdf != source_->kdf()) {
        return wrong_kind(recipe.kdf);
    }
    if (!shared_) {
        return ask(recipe);
    }
    const auto turn = shared_->wait_for_turn([&] { return remembers(recipe); });
    return remembers(recipe) ? Result<ByteView>(key_.view()) : ask(recipe);
}

Result<ByteView> UnlockKey::ask(const UnlockRecipe& recipe) {
    has_asked_ = true;
    KMS_ASSIGN(SecretBytes key, source_->ask());
    return keep(recipe, std::move(key));
}

Result<ByteView> UnlockKey::keep(const UnlockRecipe& recipe, SecretBytes key) {
    if (recipe.kdf == Kdf::scrypt) {
        SecretBytes derived(unlock_key_length);
        KMS_TRY(scrypt(key.view(), recipe.salt, recipe.cost, derived.span()));
        key = std::move(derived);
        if (shared_) {
            shared_->keep(recipe, key.view());
        }
    }
    recipe_ = recipe;
    key_ = std::move(key);
    return key_.view();
}

bool UnlockKey::remembers(const UnlockRecipe& recipe) {
    if (holds(recipe)) {
        return true;
    }
    if (!shared_ || recipe.kdf != Kdf::scrypt) {
        return false;
    }
    SecretBytes kept = shared_->recall(recipe);
    if (kept.empty()) {
        return false;
    }
    recipe_ = recipe;
    key_ = std::move(kept);
    return true;
}

bool UnlockKey::holds(const UnlockRecipe& recipe) const {
    return !key_.empty() && recipe_ == recipe;
}

void UnlockKey::forget() {
    key_.release();
    if (shared_) {
        shared_->drop(recipe_);
    }
}

}  // namespace kms::agent
