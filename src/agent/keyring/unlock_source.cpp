#include "agent/keyring/unlock_source.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/keyring/passphrase_command.hpp"
#include "agent/keyring/private_file.hpp"
#include "base/system.hpp"
#include "base/terminal.hpp"
#include "base/unique_fd.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

// What cannot be written, or is in memory alone, needs no more than it has.
bool put_on_disk(int fd) {
    return fsync(fd) == 0 || errno == EINVAL || errno == EROFS;
}

class KeyFile : public UnlockSource {
  public:
    explicit KeyFile(std::string path) : path_(std::move(path)) {}

    Kdf kdf() const override { return Kdf::key_file; }

    Result<SecretBytes> ask() override {
        KMS_ASSIGN(const Opened opened, open_file(O_RDONLY));
        return read_key(opened);
    }

    bool is_missing() const override {
        struct stat status {};
        return stat(path_.c_str(), &status) != 0 && errno == ENOENT;
    }

    // A pipe gives its bytes once, and has none on disk. None is waited for here: others wait for
    // the keyring's lock.
    Result<SecretBytes> settle(SecretBytes asked, const std::optional<Owner>& owner) override {
        if (is_missing()) {
            KMS_TRY(make_key_file(path_, owner));
        }
        KMS_ASSIGN(const Opened opened, open_file(O_RDONLY | O_NONBLOCK));
        if (!S_ISREG(opened.status.st_mode) && !asked.empty()) {
            return asked;
        }
        KMS_ASSIGN(SecretBytes key, read_key(opened));
        KMS_TRY(make_durable(opened));
        return key;
    }

  private:
    struct Opened {
        UniqueFd fd;
        struct stat status {};
    };

    Result<Opened> open_file(int flags) const {
        Opened opened{UniqueFd(open(path_.c_str(), flags | O_CLOEXEC))};
        if (!opened.fd || fstat(opened.fd.get(), &opened.status) != 0) {
            return system_error("cannot open the key file " + path_);
        }
        return opened;
    }

    Result<SecretBytes> read_key(const Opened& opened) const {
        KMS_TRY(check_closed_to_others(opened.status, "the key file " + path_));
        auto key = read_all(opened.fd.get(), unlock_key_length, path_);
        if (!key && key.error().code != Code::too_large) {
            return key;
        }
        if (!key || key->size() != unlock_key_length) {
            return Error{Code::invalid, "the key file " + path_ + " has not exactly 32 bytes"};
        }
        return key;
    }

    // Whoever has made it may have been killed before it was on disk, and cp writes none there.
    Status make_durable(const Opened& opened) const {
        KMS_ASSIGN(const Place place, find_place(path_));
        if (!place.is_of(opened.status)) {
            return Error{Code::failed, "the key file " + path_ + " is just being replaced"};
        }
        if (!put_on_disk(opened.fd.get()) || !put_on_disk(place.folder.get())) {
            return system_error("cannot make the key file " + path_ + " durable");
        }
        return {};
    }

    std::string path_;
};

Result<SecretBytes> checked_passphrase(SecretBytes passphrase, std::string_view origin) {
    if (passphrase.empty()) {
        return Error{Code::invalid, std::string(origin) + " gave an empty passphrase"};
    }
    return passphrase;
}

class Command : public UnlockSource {
  public:
    Command(std::string command, std::chrono::seconds patience)
        : command_(std::move(command)), patience_(patience) {}

    Kdf kdf() const override { return Kdf::scrypt; }

    Result<SecretBytes> ask() override {
        KMS_ASSIGN(SecretBytes passphrase, run_passphrase_command(command_, patience_));
        return checked_passphrase(std::move(passphrase), "the passphrase command");
    }

    Result<SecretBytes> settle(SecretBytes asked, const std::optional<Owner>& /*owner*/) override {
        KMS_ASSIGN(const SecretBytes again, ask());
        if (!std::ranges::equal(again.view(), asked.view())) {
            return Error{Code::denied,
                         "the command for the new passphrase has not printed the same twice"};
        }
        return asked;
    }

  private:
    std::string command_;
    std::chrono::seconds patience_;
};

class Terminal : public UnlockSource {
  public:
    explicit Terminal(Asking asking) : asking_(asking) {}

    Kdf kdf() const override { return Kdf::scrypt; }

    Result<SecretBytes> ask() override {
        if (asked_) {
            return Error{Code::unavailable,
                         "the keyring has another passphrase now: start again to "
                         "be asked for it"};
        }
        if (!has_terminal()) {
            return Error{Code::invalid,
                         "there is no terminal to ask for the passphrase: give "
                         "--key-file or --passphrase-command"};
        }
        asked_ = true;
        const char* prompt = asking_ == Asking::twice ? "New passphrase of the keyring: "
                                                      : "Passphrase of the keyring: ";
        auto line = ask_on_terminal(prompt, max_passphrase, asking_);
        if (!line) {
            return Error{Code::invalid, "no passphrase was given"};
        }
        return checked_passphrase(std::move(*line), "the terminal");
    }

    // A person has typed it twice.
    Result<SecretBytes> settle(SecretBytes asked, const std::optional<Owner>& /*owner*/) override {
        return asked;
    }

  private:
    Asking asking_;
    bool asked_ = false;
};

}  // namespace

std::unique_ptr<UnlockSource> key_file_source(std::string path) {
    return std::make_unique<KeyFile>(std::move(path));
}

std::unique_ptr<UnlockSource> command_source(std::string command, std::chrono::seconds patience) {
    return std::make_unique<Command>(std::move(command), patience);
}

std::unique_ptr<UnlockSource> terminal_source(Asking asking) {
    return std::make_unique<Terminal>(asking);
}

Status make_key_file(const std::string& path, const std::optional<Owner>& owner) {
    SecretArray<unlock_key_length> key;
    KMS_TRY(random_secret(key.span()));
    return create_private_file(path, key.view(), owner);
}

}  // namespace kms::agent
