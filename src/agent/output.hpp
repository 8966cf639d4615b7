// What the administrative commands print: a table or lines for people, JSON for programs. Key
// identifiers are always written with %XX; keys are never written.
#pragma once

#include <string>

#include "agent/keyring/keyring.hpp"
#include "agent/keyring/keyring_format.hpp"

namespace kms::agent {

enum class OutputFormat { text, json };

// Every version of the keys that begin with `prefix`.
std::string list_text(OutputFormat format, const Keyring& keyring, std::string_view prefix);

// One version, after a change.
std::string version_text(OutputFormat format, std::string_view key, const KeyringEntry& entry);

// A keyring, after init and rekey.
std::string keyring_text(OutputFormat format, const std::string& path, const KeyringHeader& header);

}  // namespace kms::agent
