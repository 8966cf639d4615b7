#include "agent/keyring/passphrase_command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "base/system.hpp"
#include "base/unique_fd.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr milliseconds wait_step{1};
constexpr milliseconds patience_after_kill{1000};  // one of another user cannot be killed

// Kills its process group, itself included, once nobody holds the other end of its input.
constexpr const char* keeper_script = "trap '' HUP INT TERM TSTP; read -r _; kill -KILL 0";

Error no_command(int reason) {
    errno = reason;
    return system_error("cannot run the passphrase command");
}

struct Pipe {
    UniqueFd reading;
    UniqueFd writing;
};

Result<Pipe> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return no_command(errno);
    }
    return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A shell that is about to be started. Its standard descriptors are this process's where nothing
// else is said.
class Shell {
  public:
    Shell() {
        posix_spawn_file_actions_init(&actions_);
        posix_spawnattr_init(&attributes_);
        sigset_t defaults;
        sigemptyset(&defaults);
        sigaddset(&defaults, SIGPIPE);
        sigaddset(&defaults, SIGXFSZ);
        posix_spawnattr_setsigdefault(&attributes_, &defaults);
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_setsigmask(&attributes_, &none);  // that this process holds back
    }
    ~Shell() {
        posix_spawn_file_actions_destroy(&actions_);
        posix_spawnattr_destroy(&attributes_);
    }
    Shell(const Shell&) = delete;
    Shell& operator=(const Shell&) = delete;

    void connect(int fd, int to) { posix_spawn_file_actions_adddup2(&actions_, fd, to); }
    void connect_to_nothing(int to) {
        posix_spawn_file_actions_addopen(&actions_, to, "/dev/null", O_RDWR, 0);
    }
    // 0: one of its own.
    void join_group(pid_t group) {
        flags_ |= POSIX_SPAWN_SETPGROUP;
        posix_spawnattr_setpgroup(&attributes_, group);
    }

    Result<pid_t> start(std::string script) {
        posix_spawnattr_setflags(&attributes_, flags_);
        std::string shell = "sh";
        std::string option = "-c";
        char* const arguments[] = {shell.data(), option.data(), script.data(), nullptr};
        pid_t pid = -1;
        const int failure =
            posix_spawn(&pid, "/bin/sh", &actions_, &attributes_, arguments, environ);
        if (failure != 0) {
            return no_command(failure);
        }
        return pid;
    }

  private:
    posix_spawn_file_actions_t actions_;
    posix_spawnattr_t attributes_;
    short flags_ = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
};

// A child of this process, until it is reaped. (SIGCHLD is not ignored: see prepare_process.)
class Child {
  public:
    explicit Child(pid_t pid = -1) : pid_(pid) {}

    pid_t pid() const { return pid_; }
    bool reaped() const { return pid_ < 0; }

    // Its status as waitpid tells it; nullopt where it runs on after the deadline.
    std::optional<int> wait(TimePoint deadline) {
        int status = 0;
        while (!reaped()) {
            const pid_t ended = waitpid(pid_, &status, WNOHANG);
            if (ended == pid_) {
                pid_ = -1;
                return status;
            }
            if (Clock::now() >= deadline) {
                return std::nullopt;
            }
            std::this_thread::sleep_for(wait_step);
        }
        return status;
    }

  private:
    pid_t pid_;
};

bool at_a_terminal() {
    return static_cast<bool>(UniqueFd(open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC)));
}

int milliseconds_until(TimePoint deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    return static_cast<int>(std::clamp<milliseconds::rep>(left.count(), 0, 60'000));
}

Error too_long() {
    return {Code::too_large, "the passphrase command gave a passphrase of more than 4096 bytes"};
}

Status check_success(int status) {
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

class Command {
  public:
    // What it leaves behind is ended by this process, which then is its parent and nobody else: a
    // postmaster that is process 1 would take its end for a crash.
    explicit Command(std::chrono::seconds patience)
        : patience_(patience), deadline_(Clock::now() + patience) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    ~Command() {
        end();
        prctl(PR_SET_CHILD_SUBREAPER, 0);
    }
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;

    Result<SecretBytes> run(const std::string& command) {
        if (!at_a_terminal()) {
            KMS_TRY(start_keeper());
        }
        KMS_TRY(start(command));
        KMS_ASSIGN(SecretBytes output, read_output());
        const auto status = child_.wait(deadline_);
        if (!status) {
            return timed_out();
        }
        KMS_TRY(check_success(*status));
        if (!output.empty() && output.view().back() == '\n') {
            output.resize(output.size() - 1);
        }
        if (output.size() > max_passphrase) {
            return too_long();
        }
        return output;
    }

  private:
    // The leader of the command's process group. The kernel closes its input however this process
    // ends.
    Status start_keeper() {
        KMS_ASSIGN(Pipe pipe, make_pipe());
        Shell shell;
        shell.connect(pipe.reading.get(), STDIN_FILENO);
        shell.connect_to_nothing(STDOUT_FILENO);
        shell.connect_to_nothing(STDERR_FILENO);
        shell.join_group(0);
        KMS_ASSIGN(const pid_t pid, shell.start(keeper_script));
        keeper_ = Child(pid);
        lifeline_ = std::move(pipe.writing);
        return {};
    }

    Status start(const std::string& command) {
        KMS_ASSIGN(Pipe pipe, make_pipe());
        Shell shell;
        shell.connect_to_nothing(STDIN_FILENO);  // an agent's belongs to its client
        shell.connect(pipe.writing.get(), STDOUT_FILENO);
        if (!keeper_.reaped()) {
            shell.join_group(keeper_.pid());
        }
        KMS_ASSIGN(const pid_t pid, shell.start(command));
        child_ = Child(pid);
        output_ = std::move(pipe.reading);
        return {};
    }

    // One byte more than a passphrase may have: the newline.
    Result<SecretBytes> read_output() {
        SecretBytes output;
        for (;;) {
            SecretArray<1024> piece;
            KMS_ASSIGN(const std::size_t count, read_some(piece.span()));
            if (count == 0) {
                return output;
            }
            output.append(piece.view().first(count));
            if (output.size() > max_passphrase + 1) {
                return too_long();
            }
        }
    }

    // Zero at the end of the output.
    Result<std::size_t> read_some(ByteSpan space) {
        pollfd readable{output_.get(), POLLIN, 0};
        while (poll(&readable, 1, milliseconds_until(deadline_)) <= 0) {
            if (Clock::now() >= deadline_) {
                return timed_out();
            }
        }
        const ssize_t count = read(output_.get(), space.data(), space.size());
        if (count < 0) {
            return system_error("cannot read what the passphrase command prints");
        }
        return static_cast<std::size_t>(count);
    }

    Error timed_out() {
        const std::string within = " within " + std::to_string(patience_.count()) + " s";
        if (child_.wait(deadline_)) {
            return {Code::timed_out,
                    "the passphrase command has ended, but something that it "
                    "started did not close its output" +
                        within};
        }
        return {Code::timed_out, "the passphrase command did not end" + within};
    }

    void end() {
        if (!keeper_.reaped()) {
            kill(-keeper_.pid(), SIGKILL);
        } else if (!child_.reaped()) {
            kill(child_.pid(), SIGKILL);
        }
        const TimePoint deadline = Clock::now() + patience_after_kill;
        child_.wait(deadline);
        const pid_t group = keeper_.pid();
        keeper_.wait(deadline);
        while (group > 0 && waitpid(-group, nullptr, WNOHANG) >= 0 && Clock::now() < deadline) {
            std::this_thread::sleep_for(wait_step);
        }
    }

    std::chrono::seconds patience_;
    TimePoint deadline_;
    UniqueFd lifeline_;
    UniqueFd output_;
    Child keeper_;
    Child child_;
};

}  // namespace

Result<SecretBytes> run_passphrase_command(const std::string& command,
                                           std::chrono::seconds patience) {
    return Command(patience).run(command);
}

}  // namespace kms::agent
