// Signals that end a command in good order: once they are caught, everything that may wait for long
// waits by await(), which gives up when one has come.
#pragma once

#include "base/result.hpp"

namespace kms::blob {

// SIGINT, SIGTERM, SIGHUP and SIGQUIT. Code::io.
Status catch_signals();

// Until poll() finds `fd` ready for one of `events`. Code::interrupted, Code::io.
Status await(int fd, short events);

// The signal that has come; 0 for none.
int caught_signal();

// Ends the process by the signal that has come, so that a shell sees why.
[[noreturn]] void die_of_caught_signal();

}  // namespace kms::blob
