#include "client/link/child.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "client/link/plain_command.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr int pipe_bytes = 256 * 1024;

Error no_start(const char* what, int error) {
    return {Code::unavailable, std::string(what) + ": " + std::generic_category().message(error)};
}

// A caller may have closed its own 0, 1 and 2. A pipe end there would be overwritten while the
// child's are put in place, so every end is kept above them.
bool move_up(UniqueFd& fd) {
    if (fd.get() > STDERR_FILENO) {
        return true;
    }
    UniqueFd higher(::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    fd = std::move(higher);
    return static_cast<bool>(fd);
}

bool make_pipe(UniqueFd& read_end, UniqueFd& write_end) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
    return move_up(read_end) && move_up(write_end);
}

bool make_non_blocking(const UniqueFd& fd) {
    return ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK) == 0;
}

// For throughput alone: a user's pipes have a limit, beyond which they keep their size.
void enlarge(const UniqueFd& fd) {
    static_cast<void>(::fcntl(fd.get(), F_SETPIPE_SZ, pipe_bytes));
}

struct Pipes {
    Child ours;
    UniqueFd in, out, err;  // the child's ends
};

bool open_pipes(Pipes& pipes) {
    if (!make_pipe(pipes.in, pipes.ours.in) || !make_pipe(pipes.ours.out, pipes.out) ||
        !make_pipe(pipes.ours.err, pipes.err)) {
        return false;
    }
    enlarge(pipes.ours.in);
    enlarge(pipes.ours.out);
    return make_non_blocking(pipes.ours.in) && make_non_blocking(pipes.ours.out) &&
           make_non_blocking(pipes.ours.err);
}

// What is done to the child before a program runs in it. posix_spawn and no fork: the parent's
// memory is neither copied nor run in.
class SpawnPlan {
  public:
    SpawnPlan() {
        ::posix_spawnattr_init(&attributes_);
        ::posix_spawn_file_actions_init(&actions_);
    }
    ~SpawnPlan() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }
    SpawnPlan(const SpawnPlan&) = delete;
    SpawnPlan& operator=(const SpawnPlan&) = delete;

    // 0, or an errno.
    int make(const Pipes& pipes) {
        if (const int error = reset_signals(); error != 0) {
            return error;
        }
        return place_descriptors(pipes);
    }

    int run_shell(std::string command, pid_t& pid) {
        return run("/bin/sh", {"sh", "-c", std::move(command)}, pid);
    }

    // As execv.
    int run(const char* program, std::vector<std::string> words, pid_t& pid) {
        std::vector<char*> arguments;
        arguments.reserve(words.size() + 1);
        for (std::string& word : words) {
            arguments.push_back(word.data());
        }
        arguments.push_back(nullptr);
        return ::posix_spawn(&pid, program, &actions_, &attributes_, arguments.data(), environ);
    }

  private:
    int reset_signals() {
        sigset_t all;
        sigset_t none;
        ::sigfillset(&all);
        ::sigemptyset(&none);
        ::posix_spawnattr_setsigdefault(&attributes_, &all);
        ::posix_spawnattr_setsigmask(&attributes_, &none);
        return ::posix_spawnattr_setflags(
            &attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    }

    int place_descriptors(const Pipes& pipes) {
        const int ends[] = {pipes.in.get(), pipes.out.get(), pipes.err.get()};
        for (int target = STDIN_FILENO; target <= STDERR_FILENO; ++target) {
            const int error = ::posix_spawn_file_actions_adddup2(&actions_, ends[target], target);
            if (error != 0) {
                return error;
            }
        }
        return ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    }

    posix_spawnattr_t attributes_;
    posix_spawn_file_actions_t actions_;
};

// Where a program cannot be started without the shell, the shell says why, or knows how: it runs a
// script that has no #! line.
int run_command(SpawnPlan& plan, const std::string& command, pid_t& pid) {
    const std::vector<std::string> words = plain_words(command);
    if (!words.empty() && plan.run(words.front().c_str(), words, pid) == 0) {
        return 0;
    }
    return plan.run_shell(command, pid);
}

}  // namespace

Result<Child> spawn(const std::string& command) {
    Pipes pipes;
    if (!open_pipes(pipes)) {
        return no_start("could not make a pipe", errno);
    }
    SpawnPlan plan;
    if (const int error = plan.make(pipes); error != 0) {
        return no_start("could not prepare a process", error);
    }
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return no_start("could not take over what a process leaves behind", errno);
    }
    if (const int error = run_command(plan, command, pipes.ours.pid); error != 0) {
        return no_start("could not start a process", error);
    }
    return std::move(pipes.ours);
}

}  // namespace kms
