#include "agent/keyring/keyring_access.hpp"

#include <limits>

#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {

Result<KeyringHeader> KeyringAccess::create(const UnlockRecipe& recipe) {
    KeyringHeader header;
    header.recipe = recipe;
    KMS_TRY(random_public(header.id));
    KMS_ASSIGN(const ByteView unlock_key, unlock_keys_.front().by(header.recipe));
    KMS_ASSIGN(const SecretBytes bytes, seal_keyring(header, Keyring(), unlock_key));
    KMS_TRY(file_.create(bytes.view()));
    return header;
}

Result<LoadedKeyring> KeyringAccess::load() {
    KMS_ASSIGN(KeyringBytes read, file_.read());
    KMS_ASSIGN(OpenedKeyring opened, open(read.bytes.view()));
    return LoadedKeyring{std::move(opened), std::move(read.mark)};
}

Result<OpenedKeyring> KeyringAccess::open(ByteView bytes) {
    KMS_ASSIGN(const KeyringHeader header, parse_header(bytes));
    KMS_ASSIGN(Keyring keyring, open(header, bytes));
    return OpenedKeyring{header, std::move(keyring)};
}

// While the other is tried, it may take the place of the first, as where a key file is renamed: so
// the one that was tried first is tried once more. Where none fits, the first unlock key says why.
Result<Keyring> KeyringAccess::open(const KeyringHeader& header, ByteView bytes) {
    const std::size_t before = opener_;
    Result<Keyring> keyring = Error{Code::internal, {}};
    for (std::size_t step = 0; step < 2 * unlock_keys_.size() - 1; ++step) {
        const std::size_t index = (before + step) % unlock_keys_.size();
        auto opened = open_with(unlock_keys_[index], header, bytes);
        const bool damaged = !opened && opened.error().code == Code::corrupt;
        opener_ = opened ? index : opener_;
        if (opened || damaged || index == 0) {
            keyring = std::move(opened);
        }
        if (keyring || damaged) {
            break;
        }
    }
    return keyring;
}

// A remembered unlock key that does not fit may be one from before a rekey: the source is asked.
Result<Keyring> KeyringAccess::open_with(UnlockKey& unlock_key, const KeyringHeader& header,
                                         ByteView bytes) {
    KMS_ASSIGN(ByteView key, unlock_key.by(header.recipe));
    auto keyring = open_keyring(bytes, key);
    if (!keyring && keyring.error().code == Code::wrong_key) {
        unlock_key.forget();
    }
    if (!keyring && keyring.error().code == Code::wrong_key && !unlock_key.has_asked()) {
        KMS_ASSIGN(key, unlock_key.by(header.recipe));
        keyring = open_keyring(bytes, key);
    }
    return keyring;
}

Result<KeyringHeader> KeyringAccess::update(const KeyringChange& change, milliseconds patience) {
    KMS_ASSIGN(KeyringLock lock, file_.lock(patience));
    KMS_ASSIGN(const SecretBytes bytes, lock.read());
    KMS_ASSIGN(OpenedKeyring opened, open(bytes.view()));
    KMS_TRY(change(opened.header, opened.keyring));
    KMS_ASSIGN(const ByteView unlock_key, unlock_keys_[opener_].by(opened.header.recipe));
    return write_next(lock, opened.header, opened.keyring, unlock_key);
}

Result<KeyringHeader> KeyringAccess::rekey(UnlockKey& new_unlock_key, const UnlockRecipe& recipe,
                                           milliseconds patience) {
    KMS_ASSIGN(KeyringLock lock, file_.lock(patience));
    KMS_ASSIGN(const SecretBytes bytes, lock.read());
    KMS_ASSIGN(OpenedKeyring opened, open(bytes.view()));
    KMS_ASSIGN(const ByteView unlock_key, new_unlock_key.settle(recipe, lock.owner()));
    opened.header.recipe = recipe;
    return write_next(lock, opened.header, opened.keyring, unlock_key);
}

Result<KeyringHeader> KeyringAccess::write_next(KeyringLock& lock, KeyringHeader header,
                                                const Keyring& keyring, ByteView unlock_key) {
    if (header.generation == std::numeric_limits<std::uint64_t>::max()) {
        return Error{Code::failed, "the keyring has no generations left"};
    }
    ++header.generation;
    KMS_ASSIGN(const SecretBytes bytes, seal_keyring(header, keyring, unlock_key));
    KMS_TRY(lock.replace(bytes.view()));
    return header;
}

}  // namespace kms::agent
