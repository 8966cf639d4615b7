// What becomes of errors: lines on standard error, and an exit code.
#pragma once

#include <string_view>

#include "base/result.hpp"

namespace kms::blob {

// What scripts see; --help says the same.
enum class Exit : int {
    done = 0,
    failed = 1,
    usage = 2,
    not_found = 3,  // no such blob
    refused = 4,    // not without another choice of the caller's
    unusable = 5,   // the key cannot be used, or the blob is not what was stored
};

// "kms-blob: " before the first line.
void complain(std::string_view text);

Exit fail(const Error& error);

}  // namespace kms::blob
