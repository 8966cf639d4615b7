// What programs ask of the system first, and why it refused something.
#pragma once

#include <string>

#include "base/result.hpp"

namespace kms {

// Code::io: "`what`: " and the system's reason from errno.
Error system_error(const std::string& what);

// Descriptors 0 to 2 are open afterwards, so that no file of ours becomes the standard output.
Status open_standard_descriptors();

// No core dumps, no debugger of the same user.
Status forbid_dumps();

}  // namespace kms
