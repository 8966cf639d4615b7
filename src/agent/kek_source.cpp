#include "agent/kek_source.hpp"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "agent/private_file.hpp"
#include "base/unique_fd.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr std::size_t max_passphrase = 4096;

class KeyFile : public KekSource {
  public:
    explicit KeyFile(std::string path) : path_(std::move(path)) {}

    Kdf kdf() const override { return Kdf::key_file; }

    Result<SecretBytes> ask() override {
        const UniqueFd fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
        struct stat status {};
        if (!fd || fstat(fd.get(), &status) != 0) {
            return system_error("cannot open the key file " + path_);
        }
        if (S_ISREG(status.st_mode) && (status.st_mode & 0066) != 0) {
            return Error{Code::denied,
                         "the key file " + path_ +
                             " may be read or written by others: run chmod 0600 on it"};
        }
        auto key = read_all(fd.get(), kek_length, path_);
        if (!key && key.error().code != Code::too_large) {
            return key;
        }
        if (!key || key->size() != kek_length) {
            return Error{Code::invalid, "the key file " + path_ + " has not exactly 32 bytes"};
        }
        return key;
    }

  private:
    std::string path_;
};

Error no_command(int reason) {
    errno = reason;
    return system_error("cannot run the passphrase command");
}

// The child's pipe is its standard output; the standard input of an agent belongs to its client.
Result<pid_t> spawn_shell(const std::string& command, int output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    std::string shell = "sh";
    std::string option = "-c";
    std::string script = command;
    char* const arguments[] = {shell.data(), option.data(), script.data(), nullptr};
    pid_t pid = -1;
    const int failure = posix_spawn(&pid, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failure != 0) {
        return no_command(failure);
    }
    return pid;
}

Status wait_for_success(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return no_command(errno);
        }
    }
    if (WIFSIGNALED(status)) {
        return Error{Code::failed, "the passphrase command was ended by signal " +
                                       std::to_string(WTERMSIG(status))};
    }
    if (WEXITSTATUS(status) != 0) {
        return Error{Code::failed, "the passphrase command failed with exit code " +
                                       std::to_string(WEXITSTATUS(status))};
    }
    return {};
}

Error too_long(std::string_view origin) {
    return {Code::too_large, std::string(origin) + " gave a passphrase of more than 4096 bytes"};
}

Result<SecretBytes> checked_passphrase(SecretBytes passphrase, std::string_view origin) {
    if (passphrase.empty()) {
        return Error{Code::invalid, std::string(origin) + " gave an empty passphrase"};
    }
    if (passphrase.size() > max_passphrase) {
        return too_long(origin);
    }
    return passphrase;
}

class Command : public KekSource {
  public:
    explicit Command(std::string command) : command_(std::move(command)) {}

    Kdf kdf() const override { return Kdf::scrypt; }

    Result<SecretBytes> ask() override {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) {
            return no_command(errno);
        }
        UniqueFd reading(ends[0]);
        UniqueFd writing(ends[1]);
        KMS_ASSIGN(const pid_t pid, spawn_shell(command_, writing.get()));
        writing.reset();
        auto output = read_all(reading.get(), max_passphrase + 1, std::string(origin));
        reading.reset();
        const Status success = wait_for_success(pid);
        if (!output && output.error().code == Code::too_large) {
            return too_long(origin);
        }
        if (!output) {
            return output;
        }
        KMS_TRY(success);
        if (!output->empty() && output->view().back() == '\n') {
            output->resize(output->size() - 1);
        }
        return checked_passphrase(std::move(*output), origin);
    }

  private:
    static constexpr std::string_view origin = "the passphrase command";

    std::string command_;
};

class Terminal : public KekSource {
  public:
    explicit Terminal(Asking asking) : asking_(asking) {}

    Kdf kdf() const override { return Kdf::scrypt; }

    // OpenSSL's prompt restores the echo after a signal; without a terminal it would read the
    // standard input, which is not ours to read.
    Result<SecretBytes> ask() override {
        if (asked_) {
            return Error{Code::unavailable,
                         "the keyring has another passphrase now: start again to "
                         "be asked for it"};
        }
        if (!UniqueFd(open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC))) {
            return Error{Code::invalid,
                         "there is no terminal to ask for the passphrase: give "
                         "--key-file or --passphrase-command"};
        }
        asked_ = true;
        SecretBytes line(max_passphrase + 1);
        const bool twice = asking_ == Asking::twice;
        const char* prompt =
            twice ? "New passphrase of the keyring: " : "Passphrase of the keyring: ";
        if (EVP_read_pw_string(reinterpret_cast<char*>(line.data()), max_passphrase, prompt,
                               twice) != 0) {
            ERR_clear_error();
            return Error{Code::invalid, "no passphrase was given"};
        }
        line.resize(std::strlen(reinterpret_cast<const char*>(line.data())));
        return checked_passphrase(std::move(line), "the terminal");
    }

  private:
    Asking asking_;
    bool asked_ = false;
};

}  // namespace

std::unique_ptr<KekSource> key_file_source(std::string path) {
    return std::make_unique<KeyFile>(std::move(path));
}

std::unique_ptr<KekSource> command_source(std::string command) {
    return std::make_unique<Command>(std::move(command));
}

std::unique_ptr<KekSource> terminal_source(Asking asking) {
    return std::make_unique<Terminal>(asking);
}

Status ensure_key_file(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) == 0) {
        return {};
    }
    SecretArray<kek_length> key;
    KMS_TRY(random_secret(key.span()));
    return create_private_file(path, key.view());
}

}  // namespace kms::agent
