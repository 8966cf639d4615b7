// The words of a request, behind its key: what is not as kms/1 has it is Code::invalid.
#pragma once

#include <optional>
#include <string_view>

#include "agent/keyring/key_store.hpp"
#include "wire/frame.hpp"

namespace kms::agent {

Error invalid(std::string_view what);

struct ContextAndData {
    ByteView context;
    ByteView data;
};

// Of a body; `index`: of the word that says how long the context is.
Result<ContextAndData> split_context(const wire::Head& head, ByteView body, std::size_t index);

// Of `after=VERSION` behind the first `from` words; 0 where it is not said.
Result<std::uint32_t> version_after(const wire::Head& head, std::size_t from);

// The words behind the algorithm. Any of them may restrict the key, so none is passed over.
Status read_wishes(const wire::Head& head, NewKey& wanted);

// nullopt: there is no such word.
Result<std::optional<KeyTag>> tag_word_at(const wire::Head& head, std::size_t index);

}  // namespace kms::agent
