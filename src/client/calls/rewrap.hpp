// Data keys that are to be wrapped by another version of their KEK.
#pragma once

#include <span>
#include <vector>

#include "client/calls/new_data_key.hpp"

namespace kms {

struct WrappedDataKey {
    DataKeyId id;
    KeyTag tag;
    ByteView wrapped;
    ByteView wrapped_before;  // tried where the first does not open; may be empty
};

struct Rewrapped {
    WrappedSecret wrapped;       // the version is the KEK's
    bool opened_before = false;  // it was the second form that the agent could open
};

// Three pipelined exchanges, or four: unwraps all, wraps them by the KEK's current version, and
// unwraps what it has got, which must be the same. `current`: the lowest that this version may be;
// Code::protocol where the agent wraps by an older one, which may be about to go, or by one that it
// has not. `failed`: the key that an Error is about, or keys.size() where it is about none.
Result<std::vector<Rewrapped>> rewrap(Line line, ByteView kek, std::uint32_t current,
                                      std::span<const WrappedDataKey> keys, std::size_t& failed);

// The first of these exchanges, or two, alone: whether all would open.
Status check_rewrappable(Line line, ByteView kek, std::span<const WrappedDataKey> keys,
                         std::size_t& failed);

}  // namespace kms
