#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "client/child.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

class Busy {
  public:
    explicit Busy(volatile sig_atomic_t& flag) : flag_(flag) { flag_ = 1; }
    ~Busy() { flag_ = 0; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

  private:
    volatile sig_atomic_t& flag_;
};

// The code that a timer's handler interrupts must not find another errno.
class KeptErrno {
  public:
    KeptErrno() = default;
    ~KeptErrno() { errno = kept_; }
    KeptErrno(const KeptErrno&) = delete;
    KeptErrno& operator=(const KeptErrno&) = delete;

  private:
    int kept_ = errno;
};

// Gone also where somebody else has reaped it.
bool is_gone(pid_t pid) noexcept {
    const pid_t reaped = ::waitpid(pid, nullptr, WNOHANG);
    return reaped == pid || (reaped < 0 && errno == ECHILD);
}

bool signal_group(pid_t pid, int signal) noexcept {
    return ::kill(-pid, signal) == 0 || ::kill(pid, signal) == 0;
}

}  // namespace

void EndingChildren::add(pid_t pid, TimePoint now) noexcept {
    advance(now);
    const Busy busy(busy_);
    if (count_ == most) {
        given_up_ = endings_[0].pid;
        static_cast<void>(signal_group(given_up_, SIGKILL));
        remove(0);
    }
    endings_[count_++] = {pid, Stage::closed, now};
}

void EndingChildren::advance(TimePoint now) noexcept {
    if (busy_ != 0) {
        return;
    }
    const Busy busy(busy_);
    const KeptErrno kept;
    for (std::size_t i = count_; i-- > 0;) {
        if (is_gone(endings_[i].pid)) {
            remove(i);
        } else if (now - endings_[i].since >= grace) {
            next_stage(endings_[i], now);
        }
    }
}

void EndingChildren::leave() noexcept {
    if (busy_ != 0) {
        return;
    }
    const Busy busy(busy_);
    for (std::size_t i = 0; i < count_; ++i) {
        next_stage(endings_[i], endings_[i].since);
    }
}

void EndingChildren::next_stage(Ending& ending, TimePoint now) noexcept {
    if (ending.stage == Stage::stubborn || ending.stage == Stage::reported) {
        return;
    }
    ending.since = now;
    if (ending.stage == Stage::killed) {
        ending.stage = Stage::stubborn;
        return;
    }
    const bool first = ending.stage == Stage::closed;
    const bool sent = signal_group(ending.pid, first ? SIGTERM : SIGKILL);
    ending.stage = !sent ? Stage::stubborn : first ? Stage::terminated : Stage::killed;
}

void EndingChildren::remove(std::size_t index) noexcept {
    std::copy(endings_ + index + 1, endings_ + count_, endings_ + index);
    --count_;
}

pid_t EndingChildren::take_stubborn() noexcept {
    const Busy busy(busy_);
    if (given_up_ >= 0) {
        return std::exchange(given_up_, -1);
    }
    for (std::size_t i = 0; i < count_; ++i) {
        if (endings_[i].stage == Stage::stubborn) {
            endings_[i].stage = Stage::reported;
            return endings_[i].pid;
        }
    }
    return -1;
}

}  // namespace kms
