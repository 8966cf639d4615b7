// Who asks, as the key agent is told (doc/protocol.md, "Handshake").
#pragma once

#include "client/link/agent.hpp"

namespace kms::pg {

// PostgreSQL's half: its strings.
struct IdentityTexts {
    const char* role;
    const char* session_role;
    const char* database;
    const char* application;
    const char* client;
    int pid;
    std::uint64_t cluster;
    std::uint64_t generation;  // rises whenever the strings are read anew
};

// Of the current role, in the current memory context: it is the call's own, and says the same
// whatever runs meanwhile as another role. Reads catalogs when the role is another one than last
// time.
const IdentityTexts* identity_texts();

// The C++ side's half.
Identity make_identity(const IdentityTexts& texts);

}  // namespace kms::pg
