// The verbs of kms/1 as typed calls: every reply is checked before it is believed.
//
// A reply that does not parse or breaks a limit is Code::protocol. Limits: an error's text 4 KiB, a
// list 16 MiB, a wrapped secret twice what was sent and 4 KiB.
#pragma once

#include "base/secret.hpp"
#include "client/link/agent.hpp"
#include "crypto/algorithm.hpp"

namespace kms {

// An agent that `ensure` has made ready, and how to wait for it.
struct Line {
    KeyAgent& agent;
    const Deadlines& deadlines;
    Waiter& waiter;
};

struct DescribedKey {
    std::uint32_t version;
    Algorithm algorithm;
    KeyTag tag;
    wire::KeyUses uses = {};  // of describe alone
};

// What a KEK has wrapped, or unwrapped, and the version of the KEK that did it.
struct WrappedSecret {
    std::uint32_t version;
    SecretBytes bytes;
};

// `context` must be the same in both: crypto/wrap_context.hpp.
Result<WrappedSecret> wrap_key(Line line, ByteView kek, ByteView context, ByteView secret);

// `longest`: bytes that the secret may have. Code::malformed where the agent finds `wrapped`
// invalid.
Result<WrappedSecret> unwrap_key(Line line, ByteView kek, ByteView context, ByteView wrapped,
                                 std::uint64_t longest);

// Asks for an answer, and no more.
Status ping(Line line);

Result<DescribedKey> describe_key(Line line, ByteView key);

// How a key is to be made. `after`: a version number of the key that was used before, 0: none is
// known. The new version's is above it where the agent offers that.
struct KeyWish {
    Algorithm algorithm = default_algorithm;
    wire::Purpose purpose = wire::Purpose::seal;
    bool exportable = true;
    std::uint32_t after = 0;
};

// Code::unsupported, and nothing is made, where the agent does not offer a purpose or no-export
// that is wished.
Result<DescribedKey> create_key(Line line, ByteView key, const KeyWish& wish);

// A version that was made elsewhere goes on at the agent: `listed` as `list` will have it, `key`
// empty where it is destroyed. Code::protocol where it goes on as another.
Status import_version(Line line, const wire::ListedVersion& listed, ByteView key);

Result<DescribedKey> rotate_key(Line line, ByteView key, std::uint32_t after);

Result<std::vector<wire::ListedVersion>> list_keys(Line line, ByteView prefix);

// Of one key. An agent may list others that begin so as well.
Result<std::vector<wire::ListedVersion>> list_versions(Line line, ByteView key);

// `verb`: enable, disable or destroy.
Status change_version(Line line, std::string_view verb, ByteView key, std::uint32_t version);

}  // namespace kms
