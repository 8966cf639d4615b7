#include "agent/keyring_access.hpp"

#include <limits>

#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {

Result<KeyringHeader> KeyringAccess::create(const KekRecipe& recipe) {
    KeyringHeader header;
    header.recipe = recipe;
    KMS_TRY(random_public(header.id));
    KMS_ASSIGN(const ByteView kek, kek_.by(header.recipe));
    KMS_ASSIGN(const SecretBytes bytes, seal_keyring(header, Keyring(), kek));
    KMS_TRY(file_.create(bytes.view()));
    return header;
}

Result<LoadedKeyring> KeyringAccess::load() {
    KMS_ASSIGN(KeyringBytes read, file_.read());
    return open(std::move(read));
}

// A remembered KEK that does not fit may be one from before a rekey: the source is asked again.
Result<LoadedKeyring> KeyringAccess::open(KeyringBytes read) {
    KMS_ASSIGN(const KeyringHeader header, parse_header(read.bytes.view()));
    const bool remembered = kek_.remembers(header.recipe);
    KMS_ASSIGN(ByteView kek, kek_.by(header.recipe));
    auto keyring = open_keyring(read.bytes.view(), kek);
    if (!keyring && keyring.error().code == Code::wrong_key) {
        kek_.forget();
    }
    if (!keyring && keyring.error().code == Code::wrong_key && remembered) {
        KMS_ASSIGN(kek, kek_.by(header.recipe));
        keyring = open_keyring(read.bytes.view(), kek);
    }
    if (!keyring) {
        return std::move(keyring.error());
    }
    return LoadedKeyring{std::move(read.mark), header, std::move(*keyring)};
}

Result<KeyringHeader> KeyringAccess::update(const KeyringChange& change, milliseconds patience) {
    KMS_ASSIGN(KeyringLock lock, file_.lock(patience));
    KMS_ASSIGN(LoadedKeyring loaded, load());
    KMS_TRY(change(loaded.header, loaded.keyring));
    KMS_ASSIGN(const ByteView kek, kek_.by(loaded.header.recipe));
    return write_next(lock, loaded.header, loaded.keyring, kek);
}

Result<KeyringHeader> KeyringAccess::rekey(Kek& new_kek, const KekRecipe& recipe,
                                           milliseconds patience) {
    KMS_ASSIGN(KeyringLock lock, file_.lock(patience));
    KMS_ASSIGN(LoadedKeyring loaded, load());
    KMS_ASSIGN(const ByteView kek, new_kek.by(recipe));
    loaded.header.recipe = recipe;
    return write_next(lock, loaded.header, loaded.keyring, kek);
}

Result<KeyringHeader> KeyringAccess::write_next(KeyringLock& lock, KeyringHeader header,
                                                const Keyring& keyring, ByteView kek) {
    if (header.generation == std::numeric_limits<std::uint64_t>::max()) {
        return Error{Code::failed, "the keyring has no generations left"};
    }
    ++header.generation;
    KMS_ASSIGN(const SecretBytes bytes, seal_keyring(header, keyring, kek));
    KMS_TRY(lock.replace(bytes.view()));
    return header;
}

}  // namespace kms::agent
