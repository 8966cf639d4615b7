// One name stands for one key, in the database or at the agent: as far as either can tell. Acts one
// to three.
#pragma once

#include "base/bytes.hpp"

namespace kms::pg {

// 22023 where the agent has a key of that name, that it may seal values with; the agent's error
// where it does not say. `action` as in Subject.
void require_unknown_to_agent(const char* action, ByteView name);

// 22023 where a data key of this database has the name. `instead`: what to call, for a HINT.
void require_unknown_to_database(const char* action, ByteView name, const char* instead);

}  // namespace kms::pg
