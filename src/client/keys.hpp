// The verbs of kms/1 as typed calls: every reply is checked before it is believed.
//
// A reply that does not parse, breaks a limit, or whose key does not have the tag that the agent
// said is Code::protocol. Limits: a key 64 bytes, an error's text 4 KiB, a list 16 MiB.
#pragma once

#include <optional>

#include "base/secret.hpp"
#include "client/agent.hpp"
#include "crypto/algorithm.hpp"

namespace kms {

// An agent that `ensure` has made ready, and how to wait for it.
struct Line {
    KeyAgent& agent;
    const Deadlines& deadlines;
    Waiter& waiter;
};

struct FetchedKey {
    std::uint32_t version;
    Algorithm algorithm;
    KeyTag tag;  // computed from the key
    SecretBytes key;
};

struct DescribedKey {
    std::uint32_t version;
    Algorithm algorithm;
    KeyTag tag;
};

// The current version, or the one with `tag`. An agent that knows no tags answers with its current
// version: Code::wrong_key where that is another one.
Result<FetchedKey> get_key(Line line, ByteView key, const std::optional<KeyTag>& tag);

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

// Bytes that the reply to encrypt or wrap may have.
constexpr std::uint64_t sealed_limit(std::uint64_t sent) {
    return 2 * sent + 4096;
}

// The words behind `ok` of a reply to encrypt: VERSION and TAG may be left out, but not be wrong.
Status check_encrypted(const wire::Head& head);

Result<DescribedKey> describe_key(Line line, ByteView key);
Result<DescribedKey> create_key(Line line, ByteView key, std::string_view algorithm);
Result<DescribedKey> rotate_key(Line line, ByteView key);
Result<std::vector<wire::ListedVersion>> list_keys(Line line, ByteView prefix);

// `verb`: enable, disable or destroy.
Status change_version(Line line, std::string_view verb, ByteView key, std::uint32_t version);

}  // namespace kms
