// Keys that many calls need are asked for in one exchange with the agent.
#pragma once

#include <span>

#include "pg/values/values.hpp"

namespace kms::pg {

// Fetches what the session does not hold of the keys that the calls need. What cannot be had is
// left for its call, which says why.
void prefetch(Way way, std::span<const Call> calls);

// How many calls may be prefetched for at once: the session can hold all their keys.
std::size_t most_prefetched();

}  // namespace kms::pg
