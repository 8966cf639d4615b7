// How long to wait before an agent is started again.
#pragma once

#include <algorithm>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "client/waiter.hpp"

namespace kms {

// An agent that worked and was lost is started again at once. One that does not start, or is lost
// within a second each time, is waited for: 100 ms, doubled each time up to 2 s.
class Backoff {
  public:
    void reset() { *this = Backoff(); }

    void start_failed(TimePoint now) { hold_off(now, ++failures_); }

    void lost(TimePoint started, TimePoint now) {
        if (now - started >= soon) {
            reset();
            return;
        }
        hold_off(now, failures_++);
    }

    // At most half of `start_deadline`. Code::interrupted.
    Status wait(milliseconds start_deadline, Waiter& waiter) const {
        const TimePoint until = std::min(not_before_, Clock::now() + start_deadline / 2);
        while (Clock::now() < until) {
            if (waiter.wait({}, until) == Waiter::Outcome::interrupted) {
                return Error{Code::interrupted, {}};
            }
        }
        return {};
    }

  private:
    static constexpr milliseconds soon{1000};
    static constexpr milliseconds shortest{100};
    static constexpr milliseconds longest{2000};

    void hold_off(TimePoint now, unsigned failures) {
        milliseconds pause{0};
        for (unsigned i = 0; i < failures && pause < longest; ++i) {
            pause = std::max(2 * pause, shortest);
        }
        not_before_ = now + std::min(pause, longest);
    }

    unsigned failures_ = 0;  // in a row
    TimePoint not_before_{};
};

}  // namespace kms
