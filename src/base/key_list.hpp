// The text of kms.keys, the session's bindings: `1=customer-pii, 2=a%2Cb`.
//
// A list is parsed into one flat block without allocating, because that is what PostgreSQL keeps
// beside a setting's value. Local ids are 1 to 65535; identifiers 1 to 1,024 bytes, any bytes,
// where each outside A-Za-z0-9._/:@- is written %XX. Blanks around entries are skipped.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"

namespace kms {

constexpr std::int32_t max_local_id = 65535;
constexpr std::size_t max_identifier = 1024;

struct Binding {
    std::int32_t local_id;
    std::uint32_t offset;  // of the identifier, from the beginning of the block
    std::uint32_t length;
};

// The head of a block; bindings, in order of their local id, and identifiers follow it.
struct KeyList {
    std::uint32_t count;
    bool valid;  // false: the text did not parse, and no binding is in force

    std::span<const Binding> bindings() const;
    const Binding* find(std::int32_t local_id) const;  // nullptr: not bound
    ByteView identifier(const Binding& binding) const;
    bool binds(ByteView identifier) const;
};

// What is wrong with a text, and where.
struct KeyListProblem {
    const char* what;
    std::size_t position;  // bytes from the beginning
};

// Bytes that a block for `text` needs at most.
std::size_t key_list_size(std::string_view text);

// `block`: key_list_size(text) bytes, aligned for a KeyList. Where there is a problem the block is
// an empty list that is not valid.
std::optional<KeyListProblem> parse_key_list(std::string_view text, void* block);

// The text of `list` with `local_id` bound to `identifier`, or without that binding.
std::string with_binding(const KeyList& list, std::int32_t local_id, ByteView identifier);
std::string without_binding(const KeyList& list, std::int32_t local_id);

}  // namespace kms
