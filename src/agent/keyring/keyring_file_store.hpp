// A key store over a keyring file: sees what others change, and fails closed.
//
// Where the file cannot be read any more, is damaged, has another unlock key, or is older than one
// seen before or made from such an older one, every request is answered with Code::unavailable and
// the reason, until it is right again.
#pragma once

#include <optional>

#include "agent/keyring/keyring_access.hpp"
#include "agent/keyring/keyring_store.hpp"
#include "base/clock.hpp"

namespace kms::agent {

class KeyringFileStore : public KeyringStore {
  public:
    // While the file cannot be served it is tried again at most once in `pause`, since that may
    // cost a scrypt.
    explicit KeyringFileStore(KeyringAccess access, milliseconds pause = milliseconds(2000))
        : access_(std::move(access)), pause_(pause) {}

    // Reads the file for the first time, or says why it cannot be served.
    Status open() { return reload(); }

    // Reads the file again where it has changed. One system call where it has not.
    void refresh() override;

  protected:
    Result<const Keyring*> keyring() override;
    Status apply(const Change& change) override;

  private:
    Status reload();
    Status check_not_older(const KeyringHeader& header) const;
    Status check_continues(const KeyringHeader& header, const Keyring& keyring) const;

    KeyringAccess access_;
    milliseconds pause_;
    ReadMark mark_;
    std::optional<KeyringHeader> newest_;  // of what was served
    std::optional<Error> refusal_;
    TimePoint next_attempt_{};
};

}  // namespace kms::agent
