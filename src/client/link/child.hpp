// A child process with pipes on its standard input, output and error.
//
// Own session, dispositions and mask reset, every descriptor from 3 up closed, pipes and no
// socketpair (a shell agent that opens /dev/stdin fails on a socket), larger pipe buffers where the
// system allows, non-blocking and close-on-exec on our side.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace kms {

struct Child {
    pid_t pid = -1;
    UniqueFd in;   // we write the child's standard input here
    UniqueFd out;  // we read its standard output here
    UniqueFd err;
};

// `command` is run as /bin/sh -c runs it; without a shell in between where that makes no
// difference. Code::unavailable with the system's reason.
//
// What a child leaves behind when it ends becomes this process's own from now on, and never the
// parent's: a postmaster that is process 1 takes an unknown child's end for that of a backend.
Result<Child> spawn(const std::string& command);

// Children whose pipes are closed, until they and their process groups have ended and are reaped:
// they get a grace period, then TERM, then KILL. An agent under another uid cannot be signalled
// (EPERM): it is left to end by itself, and reaped whenever it does.
class EndingChildren {
  public:
    static constexpr milliseconds grace{1000};
    static constexpr milliseconds patience{5000};  // of a process that is to end, too
    static constexpr milliseconds moment{200};

    // Whether another one that did not end in its time would be too many.
    bool is_full() const noexcept;

    // Code that runs inside a signal handler must not allocate: the list has a fixed size. Not
    // where it is full.
    void add(pid_t pid, TimePoint now) noexcept;

    // Reaps and signals what is due. Blocks nowhere. Async-signal-safe.
    void advance(TimePoint now) noexcept;

    // The last word of a process that ends: waits until all are gone, or its patience is, and then
    // for a moment until it has no child at all. What agents have started outside of their groups,
    // if it has lost its parent, is this process's own child, too.
    void wait_for_all() noexcept;

    // The same where another waits for this process: for a moment, and what is left then gets TERM.
    void wait_a_moment() noexcept;

    // Kills one of them at once, where it may be signalled, and waits for its end, which another
    // may be too late for: until it is gone, or its patience is.
    void hurry(pid_t pid) noexcept;

    bool empty() const { return count_ == 0; }
    std::size_t size() const { return count_; }
    pid_t pid(std::size_t index) const { return endings_[index].pid; }

    // A child that outlived KILL by another grace period, or cannot be signalled: once each, for
    // the log; -1 when there is none.
    pid_t take_stubborn() noexcept;

  private:
    enum class Stage { closed, terminated, killed, stubborn, reported };
    struct Ending {
        pid_t pid;
        Stage stage;
        TimePoint since;
        bool is_stubborn() const { return stage >= Stage::stubborn; }
    };
    static constexpr std::size_t most = 256;
    static constexpr std::ptrdiff_t most_stubborn = 2;

    static void next_stage(Ending& ending, TimePoint now) noexcept;
    void wait(milliseconds time) noexcept;
    void remove(std::size_t index) noexcept;

    Ending endings_[most];
    std::size_t count_ = 0;
    // A timer's handler may run in the middle of any of these functions: it then does nothing.
    volatile sig_atomic_t busy_ = 0;
};

}  // namespace kms
