// A keyring's file together with its KEK: load it, change it, protect it anew.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/kek.hpp"
#include "agent/keyring.hpp"
#include "agent/keyring_file.hpp"
#include "agent/keyring_format.hpp"
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
    KeyringAccess(std::string path, Kek kek) : file_(std::move(path)) {
        keks_.push_back(std::move(kek));
    }

    // The KEK that a rekey will lead to: tried where the first does not open the keyring.
    void expect(Kek next) { keks_.push_back(std::move(next)); }

    const KeyringFile& file() const { return file_; }

    // An empty keyring in a new file, by a recipe that the KEK has begun and settled. Code::invalid
    // where the file exists.
    Result<KeyringHeader> create(const KekRecipe& recipe);

    // The errors of KeyringFile::read, Kek::by and open_keyring.
    Result<LoadedKeyring> load();

    // Takes the writers' lock, loads, changes, and writes the next generation, whose header it
    // returns. Code::unavailable when the lock is held for longer than `patience`; the errors of
    // load, of `change`, and Code::io.
    Result<KeyringHeader> update(const KeyringChange& change, milliseconds patience);

    // The same keyring under a new KEK, by a recipe that the new KEK has begun. It settles once the
    // keyring is locked and open: only then a key file that is missing is made.
    Result<KeyringHeader> rekey(Kek& new_kek, const KekRecipe& recipe, milliseconds patience);

  private:
    Result<OpenedKeyring> open(ByteView bytes);
    Result<Keyring> open(const KeyringHeader& header, ByteView bytes);
    static Result<Keyring> open_with(Kek& kek, const KeyringHeader& header, ByteView bytes);
    static Result<KeyringHeader> write_next(KeyringLock& lock, KeyringHeader header,
                                            const Keyring& keyring, ByteView kek);

    KeyringFile file_;
    std::vector<Kek> keks_;   // one or two
    std::size_t opener_ = 0;  // that opened the keyring last
};

}  // namespace kms::agent
