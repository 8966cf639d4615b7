#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <functional>

#include "client/link/child.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::chrono::nanoseconds shortest_pause{200'000};
constexpr std::chrono::nanoseconds longest_pause{20'000'000};

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

// `children` as waitpid takes them. Gone also where somebody else has reaped them.
bool are_gone(pid_t children) noexcept {
    pid_t reaped = 0;
    do {
        reaped = ::waitpid(children, nullptr, WNOHANG);
    } while (reaped > 0 || (reaped < 0 && errno == EINTR));
    return reaped < 0;
}

// The child is the first of its group. Those of the group that have lost their parent are children
// of ours, too.
bool is_gone(pid_t group) noexcept {
    return are_gone(-group);
}

template <typename Condition>
void poll_until(TimePoint deadline, Condition&& is_met) noexcept {
    auto pause = shortest_pause;
    while (!is_met() && Clock::now() < deadline) {
        const timespec sleep = {0, pause.count()};
        static_cast<void>(::nanosleep(&sleep, nullptr));
        pause = std::min(2 * pause, longest_pause);
    }
}

bool signal_group(pid_t pid, int signal) noexcept {
    return ::kill(-pid, signal) == 0 || ::kill(pid, signal) == 0;
}

}  // namespace

bool EndingChildren::is_full() const noexcept {
    return count_ == most || std::count_if(endings_, endings_ + count_,
                                           std::mem_fn(&Ending::is_stubborn)) >= most_stubborn;
}

void EndingChildren::add(pid_t pid, TimePoint now) noexcept {
    const Busy busy(busy_);
    if (!is_gone(pid)) {
        endings_[count_++] = {pid, Stage::closed, now};
    }
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

void EndingChildren::hurry(pid_t pid) noexcept {
    const auto is_it = [pid](const Ending& ending) { return ending.pid == pid; };
    {
        const Busy busy(busy_);
        Ending* found = std::find_if(endings_, endings_ + count_, is_it);
        if (found != endings_ + count_ && signal_group(pid, SIGKILL)) {
            *found = {pid, Stage::killed, Clock::now()};
        }
    }
    poll_until(Clock::now() + patience, [&] {
        advance(Clock::now());
        return std::none_of(endings_, endings_ + count_, is_it);
    });
}

void EndingChildren::wait_for_all() noexcept {
    wait(patience);
    poll_until(Clock::now() + moment, [] { return are_gone(WAIT_ANY); });
}

void EndingChildren::wait_a_moment() noexcept {
    wait(moment);
    for (std::size_t i = 0; i < count_; ++i) {
        next_stage(endings_[i], endings_[i].since);
    }
}

// What a handler has interrupted, if any, does not go on.
void EndingChildren::wait(milliseconds time) noexcept {
    busy_ = 0;
    poll_until(Clock::now() + time, [this] {
        advance(Clock::now());
        return empty();
    });
}

void EndingChildren::next_stage(Ending& ending, TimePoint now) noexcept {
    if (ending.is_stubborn()) {
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
    for (std::size_t i = 0; i < count_; ++i) {
        if (endings_[i].stage == Stage::stubborn) {
            endings_[i].stage = Stage::reported;
            return endings_[i].pid;
        }
    }
    return -1;
}

}  // namespace kms
