// The command that prints a passphrase, run for no longer than it may take.
#pragma once

#include <chrono>
#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::agent {

constexpr std::size_t max_passphrase = 4096;  // bytes

// What `/bin/sh -c command` prints, without one newline at its end, once it has ended well and
// nothing holds its output any more. It gets nothing on its standard input. Code::timed_out after
// `patience`; Code::failed with its exit code or signal; Code::too_large.
//
// Whatever of it runs then is killed, and so it is where this process dies. At a terminal, where it
// may ask a person, it stays in the terminal's process group, and only the shell is killed.
Result<SecretBytes> run_passphrase_command(const std::string& command,
                                           std::chrono::seconds patience);

}  // namespace kms::agent
