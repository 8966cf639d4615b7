// Which version of a key is the current one, whoever has rotated it: by its tag. C++ side.
#pragma once

#include "crypto/algorithm.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {

// How long a version that the session holds is believed to be the current one.
constexpr std::int64_t believed_ms = 1000;

// What keeps a key from sealing, and not its agent from being asked.
bool is_about_a_key(const Failure& failure);

// Those of the keys that rows name, in a memory context of their own below the current one.
struct CurrentTags;
CurrentTags* make_current_tags();

// What was found where a key was last looked for.
struct FoundTag {
    const KeyTag* tag;   // nullptr: it cannot be had, or was let go of alone
    int sqlstate;        // 0, or why it cannot be had,
    const char* reason;  // which this says, too

    bool is_out_of_reach() const { return sqlstate != 0; }
};

// Of lately; nothing where nobody has looked since. Asks nobody. Both last until the next is noted.
std::optional<FoundTag> believed_tag(const CurrentTags& tags, ByteView identifier);
FoundTag note_tag(CurrentTags& tags, ByteView identifier, const KeyTag& tag);
void note_let_go_of(CurrentTags& tags, ByteView identifier);
FoundTag note_out_of_reach(CurrentTags& tags, ByteView identifier, const Failure& failure);

// Whatever was found is looked for again.
void forget_tags(CurrentTags& tags);

}  // namespace kms::pg
