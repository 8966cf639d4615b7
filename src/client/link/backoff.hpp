// When an agent may be started again.
#pragma once

#include <algorithm>

#include "base/clock.hpp"

namespace kms {

// An agent that worked and was lost is started again at once. One that does not start, or is lost
// within a second each time, is left alone: for 100 ms, doubled each time up to 2 s.
class Backoff {
  public:
    static constexpr milliseconds soon{1000};

    void reset() { *this = Backoff(); }

    void start_failed(TimePoint now) { hold_off(now, ++failures_); }

    void lost(TimePoint started, TimePoint now) {
        if (now - started >= soon) {
            reset();
            return;
        }
        hold_off(now, failures_++);
    }

    // Zero: it may be started.
    milliseconds left(TimePoint now) const {
        return std::max(std::chrono::ceil<milliseconds>(not_before_ - now), milliseconds{0});
    }

  private:
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
