// Keys from outside, as `kms-agent create --import` takes them.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/algorithm.hpp"

namespace kms::agent {

// How a key is written. Where nobody says, only what can be one thing alone is taken.
enum class ImportForm { unsaid, raw, hex };

// The bytes of a key from a file ("-": the standard input): exactly the algorithm's length, or hex
// of twice that, with or without a newline at the end. Code::denied: others may read or write the
// file. Code::invalid: neither of the two; or nobody says which it is, and it is text of a raw
// key's length, such as the hex of a shorter key. Code::io.
Result<SecretBytes> read_import(const std::string& path, Algorithm algorithm, ImportForm form);

}  // namespace kms::agent
