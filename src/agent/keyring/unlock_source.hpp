// Where a key-encrypting key (unlock key) comes from: a key file, a command that prints a
// passphrase, or a person at a terminal.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "agent/keyring/keyring_format.hpp"
#include "agent/keyring/private_file.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/terminal.hpp"

namespace kms::agent {

class UnlockSource {
  public:
    virtual ~UnlockSource() = default;
    virtual Kdf kdf() const = 0;

    // The unlock key itself (Kdf::key_file) or a passphrase, 1 to 4,096 bytes. May be asked again.
    virtual Result<SecretBytes> ask() = 0;

    // A key file that is not there.
    virtual bool is_missing() const { return false; }

    // What a keyring is about to depend on, once no other writer can change that keyring: of a key
    // file what it has now, on disk under its name, or 32 random bytes where it is missing. `asked`
    // is what ask() gave before, none of a file that was missing then. Code::denied where a source
    // that is no file gives something else by now.
    virtual Result<SecretBytes> settle(SecretBytes asked, const std::optional<Owner>& owner) = 0;
};

// Exactly 32 bytes. A regular file that group or others may read or write is refused.
std::unique_ptr<UnlockSource> key_file_source(std::string path);

// See passphrase_command.hpp.
std::unique_ptr<UnlockSource> command_source(std::string command, std::chrono::seconds patience);

// Asks on /dev/tty, without echo, and twice for a new passphrase; another time only by a new
// object, so that a running agent never waits for a person.
std::unique_ptr<UnlockSource> terminal_source(Asking asking);

// A new key file of 32 random bytes, on disk. Errors, and whose it is: see create_private_file.
Status make_key_file(const std::string& path, const std::optional<Owner>& owner = std::nullopt);

}  // namespace kms::agent
