// How the client waits: the one thing that it leaves to its owner. src/pg/ waits with a
// WaitEventSet and the backend's latch; unit tests wait with poll().
#pragma once

#include <span>

#include "base/clock.hpp"

namespace kms {

class Waiter {
  public:
    enum class Outcome { ready, timed_out, interrupted };

    struct Interest {
        int fd;
        bool read;
        bool write;
        friend bool operator==(const Interest&, const Interest&) = default;
    };

    virtual ~Waiter() = default;

    // Until one of `interests` may be ready (end of file and errors count), or `deadline`, or the
    // owner wants out. `interests` may be empty: then it only sleeps. Spurious readiness is
    // allowed.
    virtual Outcome wait(std::span<const Interest> interests, TimePoint deadline) noexcept = 0;

    // The descriptors waited for until now are about to be closed: their numbers will be reused.
    virtual void forget() noexcept = 0;
};

}  // namespace kms
