// Keys that come from the agent: data keys that it holds (`get`), and data keys that a KEK of its
// own has wrapped (`unwrap`). One, or many in one pipelined exchange.
//
// A reply that does not parse, has more than 64 bytes, or whose key does not have the tag that the
// agent said is Code::protocol.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/secret.hpp"
#include "client/calls/keys.hpp"
#include "crypto/algorithm.hpp"

namespace kms {

struct FetchedKey {
    std::uint32_t version;
    Algorithm algorithm;
    KeyTag tag;  // computed from the key
    SecretBytes key;
    std::uint32_t kek_version = 0;  // that opened it, of unwrap; 0: the agent does not say
    // What the agent knew of it may be as old: a time to live begins here.
    TimePoint asked_at = Clock::now();
};

// A key that the agent holds: its current version, or the one with `tag`. An agent that knows no
// tags answers with its current version: Code::wrong_key where that is another one.
struct WantedKey {
    ByteView identifier;
    std::optional<KeyTag> tag;
};

// A wrapped data key, and what it must turn out to be: Code::corrupt where it is another key.
// Code::malformed where the agent finds `wrapped` invalid.
struct WrappedKey {
    ByteView kek;
    std::string context;  // crypto/wrap_context.hpp
    ByteView wrapped;
    std::uint32_t version;
    Algorithm algorithm;
    KeyTag tag;
};

// Whether a wrapped form does not open at this agent, so that another form of the key may: the KEK
// version that made it is one that the agent does not have, or no more, or another now, under whose
// number the form seems corrupt. False where the agent did not try.
bool may_open_in_other_form(Code failure);

// Takes the key at `index`, or why there is none: what concerns one key ends nothing. An Error that
// it returns ends the exchange.
using TakeKey = std::function<Status(std::size_t index, Result<FetchedKey> key)>;

// Every key is taken once, in order unless the agent is `unordered`; where there is an Error, those
// that were not taken were not fetched.
Status get_keys(Line line, std::span<const WantedKey> wanted, const TakeKey& take);
Status unwrap_keys(Line line, std::span<const WrappedKey> wrapped, const TakeKey& take);

Result<FetchedKey> get_key(Line line, ByteView key, const std::optional<KeyTag>& tag);
Result<FetchedKey> unwrap_data_key(Line line, const WrappedKey& wrapped);

}  // namespace kms
