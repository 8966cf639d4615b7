// The subcommands of kms-agent, behind the command line.
#pragma once

#include <cstdint>
#include <string>

#include "agent/keyring/import.hpp"
#include "agent/keyring/keyring.hpp"
#include "agent/service/offered_verbs.hpp"
#include "wire/verbs.hpp"

namespace kms::agent {

// What scripts see; --help says the same.
enum class Exit : int {
    done = 0,
    failed = 1,
    usage = 2,
    not_found = 3,  // no such key or version
    refused = 4,    // exists already, does not fit, is destroyed
    unusable = 5,   // the keyring cannot be opened, or not by this unlock key
    busy = 6,       // locked by another process
};

// Where an unlock key comes from; neither: a prompt.
struct UnlockChoice {
    std::string key_file;
    std::string passphrase_command;

    bool given() const { return !key_file.empty() || !passphrase_command.empty(); }
};

struct Options {
    std::string keyring;
    UnlockChoice unlock;
    unsigned passphrase_timeout = 60;  // seconds that a passphrase command may take
    bool json = false;
    bool escaped = false;  // identifiers are written with %XX

    std::string key;  // or a prefix, as written on the command line
    std::uint32_t version = 0;
    std::string algorithm;
    std::string purpose;
    bool no_export = false;
    std::uint32_t after = 0;  // a version number that was used before an older keyring was put back
    std::string import_from;  // "-": the standard input; empty: nothing
    ImportForm import_form = ImportForm::unsaid;
    UnlockChoice new_unlock;
    UnlockChoice next_unlock;  // of serve: where a rekey leads to
    bool ephemeral = false;
    std::vector<std::string> verbs;  // that serve offers; none: all
    unsigned remember_for = 0;       // seconds; 0: not at all
};

Exit run_serve(const Options& options);
Exit run_init(const Options& options);
Exit run_create(const Options& options);
Exit run_list(const Options& options);
Exit run_rotate(const Options& options);
Exit run_change_state(const Options& options, wire::VersionState state);
Exit run_rekey(const Options& options);
Exit run_forget(const Options& options);

}  // namespace kms::agent
