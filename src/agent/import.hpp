// Keys from outside, as `kms-agent create --import` takes them.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/algorithm.hpp"

namespace kms::agent {

// The raw bytes of a key from a file ("-": the standard input): exactly the algorithm's length, or
// hex of twice that, with or without a newline at the end. Code::invalid; Code::io.
Result<SecretBytes> read_import(const std::string& path, Algorithm algorithm);

}  // namespace kms::agent
