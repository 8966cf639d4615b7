// A keyring's file together with its unlock key: load it, change it, protect it anew.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/keyring/keyring.hpp"
#include "agent/keyring/keyring_file.hpp"
#include "agent/keyring/keyring_format.hpp"
#include "agent/keyring/unlock_key.hpp"
#include "base/clock.hpp"
#include "base/result.hpp"

namespace kms::agent {

struct OpenedKeyring {
    KeyringHeader header;
    Keyring keyring;
};

struct LoadedKeyring : OpenedKeyring {
    ReadMark mark;
};

// A change of a keyring; where it fails, nothing is written. Told the header too, so that a caller
// can refuse a keyring that it does not want to change.
using KeyringChange = std::function<Status(const KeyringHeader&, Keyring&)>;

class KeyringAccess {
  public:
    KeyringAccess(std::string path, UnlockKey unlock_key) : file_(std::move(path)) {
        unlock_keys_.push_back(std::move(unlock_key));
    }

    // The unlock key that a rekey will lead to: tried where the first does not open the keyring.
    void expect(UnlockKey next) { unlock_keys_.push_back(std::move(next)); }

    const KeyringFile& file() const { return file_; }

    // An empty keyring in a new file, by a recipe that the unlock key has begun and settled.
    // Code::invalid where the file exists.
    Result<KeyringHeader> create(const UnlockRecipe& recipe);

    // The errors of KeyringFile::read, UnlockKey::by and open_keyring.
    Result<LoadedKeyring> load();

    // Takes the writers' lock, loads, changes, and writes the next generation, whose header it
    // returns. Code::unavailable when the lock is held for longer than `patience`; the errors of
    // load, of `change`, and Code::io.
    Result<KeyringHeader> update(const KeyringChange& change, milliseconds patience);

    // The same keyring under a new unlock key, by a recipe that the new unlock key has begun. It
    // settles once the keyring is locked and open: only then a key file that is missing is made.
    Result<KeyringHeader> rekey(UnlockKey& new_unlock_key, const UnlockRecipe& recipe,
                                milliseconds patience);

  private:
    Result<OpenedKeyring> open(ByteView bytes);
    Result<Keyring> open(const KeyringHeader& header, ByteView bytes);
    static Result<Keyring> open_with(UnlockKey& unlock_key, const KeyringHeader& header,
                                     ByteView bytes);
    static Result<KeyringHeader> write_next(KeyringLock& lock, KeyringHeader header,
                                            const Keyring& keyring, ByteView unlock_key);

    KeyringFile file_;
    std::vector<UnlockKey> unlock_keys_;  // one or two
    std::size_t opener_ = 0;              // that opened the keyring last
};

}  // namespace kms::agent
