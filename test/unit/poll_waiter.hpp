// Waits with poll(), counts, and gives up where a test wants it to.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "client/link/waiter.hpp"

namespace kms::test {

class PollWaiter : public Waiter {
  public:
    int waits = 0;
    int forgotten = 0;
    milliseconds longest_sleep{0};  // that was asked for with nothing to wait for
    int interrupt_at = -1;          // the wait (from 0) that is interrupted, and all that follow it
    std::function<void()> before;   // runs ahead of every wait

    Outcome wait(std::span<const Interest> interests, TimePoint deadline) noexcept override {
        if (before) {
            before();
        }
        if (const int number = waits++; interrupt_at >= 0 && number >= interrupt_at) {
            return Outcome::interrupted;
        }
        if (interests.empty()) {
            longest_sleep = std::max(longest_sleep, milliseconds(left(deadline)));
        }
        std::vector<pollfd> descriptors;
        for (const Interest& interest : interests) {
            const int events = (interest.read ? POLLIN : 0) | (interest.write ? POLLOUT : 0);
            descriptors.push_back({interest.fd, static_cast<short>(events), 0});
        }
        const int ready = ::poll(descriptors.data(), descriptors.size(), left(deadline));
        return ready > 0 ? Outcome::ready : Outcome::timed_out;
    }

    void forget() noexcept override { ++forgotten; }

  private:
    static int left(TimePoint deadline) {
        const auto time = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        return static_cast<int>(std::clamp<std::int64_t>(time.count(), 0, 600'000));
    }
};

}  // namespace kms::test
