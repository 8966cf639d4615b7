// The vocabulary of kms/1: verbs, error codes, lines of `name=value`.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/algorithm.hpp"

namespace kms::wire {

constexpr std::string_view protocol_version = "kms/1";

namespace verb {
constexpr std::string_view hello = "hello";
constexpr std::string_view identify = "identify";
constexpr std::string_view ping = "ping";
constexpr std::string_view describe = "describe";
constexpr std::string_view get = "get";
constexpr std::string_view encrypt = "encrypt";
constexpr std::string_view encrypt_as = "encrypt-as";
constexpr std::string_view decrypt = "decrypt";
constexpr std::string_view wrap = "wrap";
constexpr std::string_view unwrap = "unwrap";
constexpr std::string_view mac = "mac";
constexpr std::string_view create = "create";
constexpr std::string_view import = "import";
constexpr std::string_view rotate = "rotate";
constexpr std::string_view list = "list";
constexpr std::string_view enable = "enable";
constexpr std::string_view disable = "disable";
constexpr std::string_view destroy = "destroy";
}  // namespace verb

// Capabilities of the handshake that are not verbs.
namespace capability {
constexpr std::string_view unordered = "unordered";
constexpr std::string_view no_export = "no-export";
constexpr std::string_view after = "after";
constexpr std::string_view purpose = "purpose";
}  // namespace capability

// The word of `list` that makes its first one a key, and no prefix.
constexpr std::string_view exact_word = "exact";

// The fixed error codes of the protocol and the Codes that they are. Codes that have no name of
// their own travel as `invalid` (malformed, too_large) or `failed` (the rest).
std::string_view error_word(Code code);
std::optional<Code> error_code(std::string_view word);

// A body of `name=value` lines, values escaped like words (they may be empty). Code::protocol for a
// line without '=', an unescaped byte, or a last line without LF.
using Field = std::pair<std::string, std::string>;
std::string write_fields(const std::vector<Field>& fields);
Result<std::vector<Field>> parse_fields(ByteView body);
std::string_view field(const std::vector<Field>& fields, std::string_view name);  // "" if absent

// What `mac` makes, as a word: `blind-index/BITS`, 1 to 256.
std::string blind_index_word(unsigned bits);
std::optional<unsigned> parse_blind_index(std::string_view word);

// A key tag as a word: 16 lower-case hex digits.
std::string tag_word(const KeyTag& tag);
std::optional<KeyTag> parse_tag(std::string_view word);

// The states of a key version, as words of `list`.
enum class VersionState : Byte { enabled = 1, disabled = 2, destroyed = 3 };
std::string_view state_word(VersionState state);
std::optional<VersionState> parse_state(std::string_view word);

// What a key is for, fixed when it is made, and the words for it.
enum class Purpose : Byte {
    seal = 1,  // encrypts and decrypts, and wraps the keys of blobs
    wrap = 2,  // wraps and unwraps, and does nothing else; it never leaves the agent
};
std::string_view purpose_word(Purpose purpose);
std::optional<Purpose> parse_purpose(std::string_view word);

// Whether a key may leave the agent, as a word behind its purpose.
constexpr std::string_view exportable = "exportable";

constexpr std::uint64_t max_version = 2147483647;  // versions begin at 1

// Seconds since 1970 as RFC 3339 in UTC, `2026-01-31T23:59:59Z`; years 1970 to 9999.
void append_time(std::string& out, std::int64_t seconds);

// What an agent says of a key behind what it must say: PURPOSE, and `exportable` or `no-export`.
// Empty and nullopt where it leaves them out.
struct KeyUses {
    std::string purpose;  // a word that this build may not know
    std::optional<bool> exportable;
};

// One line of `list`: KEY VERSION ALGORITHM TAG STATE CREATED [PURPOSE [EXPORT]], words separated
// by one space; CREATED as append_time writes it.
struct ListedVersion {
    std::string key;  // raw bytes
    std::uint32_t version;
    std::string algorithm;  // a name that this build may not know
    KeyTag tag;
    VersionState state;
    std::int64_t created;  // seconds since 1970, UTC
    KeyUses uses = {};
};
void append_listed(std::string& out, const ListedVersion& listed);
Result<std::vector<ListedVersion>> parse_listed(ByteView body);

// From the words of such a line, still escaped; those behind the eight are ignored. nullopt where
// one of the first six is missing or malformed.
std::optional<ListedVersion> parse_listed_words(std::span<const std::string_view> words);

// The words of KeyUses; `purpose` and `exported` are escaped words, or empty.
KeyUses parse_uses(std::string_view purpose, std::string_view exported);
std::string_view export_word(bool exportable);

}  // namespace kms::wire
