#include "agent/keyring/asking_turn.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr milliseconds wait_step{10};

// Behind all bytes that a keyring can have.
constexpr off_t turn_byte = off_t{1} << 62;

// False where it is another's turn.
bool lock(int fd) {
    struct flock turn {};
    turn.l_type = F_WRLCK;
    turn.l_whence = SEEK_SET;
    turn.l_start = turn_byte;
    turn.l_len = 1;
    return fcntl(fd, F_OFD_SETLK, &turn) == 0 || (errno != EAGAIN && errno != EACCES);
}

void hold_back_term(sigset_t& before) {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, &before);
}

}  // namespace

AskingTurn::AskingTurn(const std::string& keyring, milliseconds patience,
                       const std::function<bool()>& is_needless)
    : file_(open(keyring.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {
    const TimePoint deadline = Clock::now() + patience;
    if (!file_) {
        return;
    }
    while (!lock(file_.get()) && !is_needless() && Clock::now() < deadline) {
        std::this_thread::sleep_for(wait_step);
    }
    hold_back_term(signals_before_);
}

AskingTurn::~AskingTurn() {
    if (file_) {
        file_.reset();
        pthread_sigmask(SIG_SETMASK, &signals_before_, nullptr);
    }
}

}  // namespace kms::agent
