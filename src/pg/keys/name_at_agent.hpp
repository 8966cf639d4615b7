// One name stands for one key, in the database or at the agent: as far as either can tell. Acts one
// to three.
#pragma once

#include "pg/session/listed_versions.hpp"

namespace kms::pg {

// 22023 where the agent has a key of that name, that it may seal values with; the agent's error
// where it does not say. `action` as in Subject.
void require_unknown_to_agent(const char* action, ByteView name);

// 22023 where a data key of this database has the name. `instead`: what to call, for a HINT.
void require_unknown_to_database(const char* action, ByteView name, const char* instead);

// Whether a data key of the same name opens what the agent's version does, as the agent shows: but
// in remote mode the version is not needed then. Nobody changes the data key until the transaction
// is over.
bool is_adopted(const KeyUse& use, const ListedVersion& listed);

// The highest number that the agent has given to a key of that name; 0: none, or it does not say.
// Raises where it could not be asked.
std::uint32_t newest_at_agent(ByteView name);

// KM009 where the agent lists a version with a number above that of the one which it describes as
// the current one: the database would go on from there.
void require_described(const KeyUse& use, std::uint32_t listed);

// What the agent has of the very key that a data key is. `was_there`: if destroyed by now.
struct Copy {
    bool is_there;
    bool was_there;
};

// A failure where it does not say.
Failure look_for_copy(const KeyUse& use, const KeyTag& tag, Copy& found);

}  // namespace kms::pg
