// New data keys of the database: drawn here or brought from elsewhere, and wrapped by a KEK that
// stays with the agent.
#pragma once

#include <optional>

#include "client/calls/keys.hpp"

namespace kms {

// Which data key: what its wrapped form is bound to.
struct DataKeyId {
    ByteView name;
    std::uint32_t version;
    Algorithm algorithm;
};

struct NewDataKey {
    KeyTag tag;
    WrappedSecret wrapped;            // the version is the KEK's
    std::optional<DescribedKey> kek;  // as far as the agent says
};

// What the agent has wrapped is unwrapped again before it is believed: a wrapped form that does not
// open would lose whatever is sealed under the key. Code::protocol where it opens as something
// else.
Result<NewDataKey> make_data_key(Line line, ByteView kek, const DataKeyId& id);

// The same of a key that is there already. `key` has the algorithm's length.
Result<NewDataKey> wrap_data_key(Line line, ByteView kek, const DataKeyId& id, ByteView key);

// What the agent says of a KEK that has just wrapped by that version; nullopt: nothing.
// Code::protocol where it is newer than the current one: numbers go on from the highest that was
// ever used, and one that is too high would end them.
Result<std::optional<DescribedKey>> describe_kek(Line line, ByteView kek, std::uint32_t wrapped_by);

// What was wrapped and unwrapped: Code::protocol where it is not the same. Takes equal time.
Status check_same(ByteView unwrapped, ByteView secret);

// By which versions: the same. Others would be told to destroy the wrong one some day.
Status check_same_version(std::uint32_t opened_by, std::uint32_t wrapped_by);

}  // namespace kms
