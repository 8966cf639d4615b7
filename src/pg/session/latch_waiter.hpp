// Waiting for the key agent as a backend must: for its descriptors, its latch and the postmaster's
// death at once, carrying out interrupts. The one PostgreSQL call of the C++ side.
#pragma once

#include <array>

#include "client/link/waiter.hpp"

struct WaitEventSet;

namespace kms::pg {

class LatchWaiter final : public Waiter {
  public:
    Outcome wait(std::span<const Interest> interests, TimePoint deadline) noexcept override;
    void forget() noexcept override;

  private:
    // A wait event set costs several system calls to make, so one is kept for each set of interests
    // that recurs: waiting for a reply, and for room to write as well.
    // Nothing here allocates on C++'s side: an exception must not meet PostgreSQL's PG_TRY.
    struct Prepared {
        WaitEventSet* set = nullptr;
        std::size_t count = 0;
        std::array<Interest, 3> interests{};
    };

    WaitEventSet* prepare(std::span<const Interest> interests);
    Outcome wait_for_event(WaitEventSet* set, TimePoint deadline);

    static constexpr std::size_t most = 2;
    Prepared prepared_[most];
    std::size_t oldest_ = 0;
};

}  // namespace kms::pg
