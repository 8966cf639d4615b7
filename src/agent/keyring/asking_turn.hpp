// Agents that start at the same time and would all ask for one passphrase take turns: the first
// asks, and leaves to the others what it has derived.
#pragma once

#include <csignal>
#include <functional>
#include <string>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

namespace kms::agent {

// One's turn, until it goes out of scope. While it lasts TERM waits: who has asked somebody leaves
// what came of it behind, although the client that wanted it has given up.
class AskingTurn {
  public:
    // Returns when it is our turn, or `is_needless()`, or after `patience`. The turn is a lock on
    // the file `keyring` (an open file description's: it stands in no writer's way, and ends with
    // the process); where that cannot be opened there are no turns, and nothing waits.
    AskingTurn(const std::string& keyring, milliseconds patience,
               const std::function<bool()>& is_needless);
    ~AskingTurn();
    AskingTurn(const AskingTurn&) = delete;
    AskingTurn& operator=(const AskingTurn&) = delete;

  private:
    UniqueFd file_;
    sigset_t signals_before_{};
};

}  // namespace kms::agent
