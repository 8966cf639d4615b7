#include "blob/interruption.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "base/system.hpp"
#include "base/unique_fd.hpp"

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// Of the process, as signals are.
UniqueFd signals;
int caught = 0;

bool is_ignored(int signal) {
    struct sigaction action {};
    return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

// Whoever starts it may have said that it is to outlive some, as nohup does, and a script for what
// runs in its background.
sigset_t signals_to_catch() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU}) {
        if (!is_ignored(signal)) {
            sigaddset(&set, signal);
        }
    }
    return set;
}

Error interruption() {
    signalfd_siginfo info{};
    if (read(signals.get(), &info, sizeof info) == sizeof info) {
        caught = static_cast<int>(info.ssi_signo);
    }
    return {Code::interrupted, "interrupted"};
}

}  // namespace

Status catch_signals() {
    const sigset_t set = signals_to_catch();
    signals = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC));
    if (!signals || sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
        return system_error("cannot catch signals");
    }
    return {};
}

Status await(int fd, short events) {
    std::array<pollfd, 2> waiting{{{signals.get(), POLLIN, 0}, {fd, events, 0}}};
    while (poll(waiting.data(), waiting.size(), -1) < 0) {
        if (errno != EINTR) {
            return system_error("cannot wait");
        }
    }
    if (waiting[0].revents != 0) {
        return interruption();
    }
    return {};
}

int caught_signal() {
    return caught;
}

void die_of_caught_signal() {
    const sigset_t set = signals_to_catch();
    std::signal(caught, SIG_DFL);
    raise(caught);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    _exit(128 + caught);
}

}  // namespace kms::blob
