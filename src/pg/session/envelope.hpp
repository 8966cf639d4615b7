// Envelope mode: a DEK is what the agent unwraps of a row of kms.data_key. C++ side.
#pragma once

#include <optional>

#include "client/calls/fetch.hpp"
#include "client/calls/key_cache.hpp"
#include "pg/session/session.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {

// The version that encode uses, or the one with `tag`. Code::not_found: there is no such data key.
// Code::wrong_key: no version of it has the tag. Code::disabled.
Result<const DataKeyVersion*> usable_version(const DataKey& stored,
                                             const std::optional<KeyTag>& tag);

// What the agent is to unwrap. Code::unsupported: an algorithm that is not known.
Result<WrappedKey> wrapped_key(ByteView name, const DataKeyVersion& version,
                               const WrappedForm& form);

// The DEK of a version, by whichever of its wrapped forms the agent can unwrap. The agent's errors;
// Code::corrupt where the row is not what was wrapped.
Result<FetchedKey> unwrap_version(Line line, ByteView name, const DataKeyVersion& version);

// What says of a value that it is none, or not one of this key and context; and not that something
// is wrong with the key or its agent.
constexpr bool is_about_a_value(Code code) {
    return code == Code::malformed || code == Code::wrong_key || code == Code::corrupt;
}

// A failure with the key is none with the value, which try_decode would pass over.
Code key_failure(Code code);

// Drops what is held of a key and is not, or not enabled, in the database any more; what the agent
// has given stays. Says where each version is, and which is current.
void keep_what_is_there(KeyCache& cache, HeldKeys& keys, const KeyUse& use);

}  // namespace kms::pg
