// Which version of a key is the current one, whoever has rotated it: by its tag. Act two.
#pragma once

#include "crypto/algorithm.hpp"
#include "pg/values.hpp"

namespace kms::pg {

// How long a version that the session holds is believed to be the current one.
constexpr std::int64_t believed_ms = 1000;

// In whatever mode: that of a value which is sealed now.
Failure find_current_tag(const char* action, ByteView identifier, KeyTag& tag);

// Those of the keys that rows name, in a memory context of their own below the current one.
struct CurrentTags;
CurrentTags* make_current_tags(const char* action);

// nullptr: it was not looked for lately. Asks nobody.
const KeyTag* believed_tag(const CurrentTags& tags, ByteView identifier);

// Looks for it where it was not.
Failure find_current_tag(CurrentTags& tags, ByteView identifier, KeyTag& tag);

}  // namespace kms::pg
