// What a process that holds keys does first.
#pragma once

#include "base/result.hpp"

namespace kms::agent {

// No core dumps, no debugger of the same user; SIGPIPE ignored; new files private; descriptors 0 to
// 2 open, so that no file of ours becomes the standard output.
Status prepare_process();

}  // namespace kms::agent
