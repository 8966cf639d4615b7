// The one clock of deadlines and expiry: monotonic, so that a change of the wall clock neither
// cuts a deadline short nor keeps a key alive.
#pragma once

#include <chrono>

namespace kms {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using std::chrono::milliseconds;

}  // namespace kms
