// What becomes of errors: lines on standard error, and an exit code.
#pragma once

#include <string>
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

// On the standard output, what has been done: where its reader has gone, that is an error of
// writing, and not the end of the program, as it is for one that prints what it has read.
Status tell_done(const std::string& text);

}  // namespace kms::blob
