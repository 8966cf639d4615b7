#include "agent/service/request_words.hpp"

#include <string>
#include <utility>

#include "wire/verbs.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

using wire::Head;

Error said_twice(std::string_view word) {
    return invalid(std::string(word) + " is said twice");
}

// The value of the word `name=VALUE` behind the first `from` words; nullopt: there is none. Two may
// contradict each other, and either could be the one that is meant.
Result<std::optional<std::string_view>> named_word(const Head& head, std::size_t from,
                                                   std::string_view name) {
    std::optional<std::string_view> value;
    for (std::size_t i = from; i < head.words.size(); ++i) {
        const std::string_view word = head.raw_word(i);
        if (!word.starts_with(name) || !word.substr(name.size()).starts_with('=')) {
            continue;
        }
        if (value) {
            return said_twice(name);
        }
        value = word.substr(name.size() + 1);
    }
    return value;
}

}  // namespace

Error invalid(std::string_view what) {
    return {Code::invalid, std::string(what)};
}

Result<ContextAndData> split_context(const Head& head, ByteView body, std::size_t index) {
    const auto length = wire::parse_number(head.raw_word(index), wire::max_body_ceiling);
    if (!length || *length > body.size()) {
        return invalid("the context's length is missing, no number, or beyond the body");
    }
    return ContextAndData{body.first(*length), body.subspan(*length)};
}

Result<std::uint32_t> version_after(const Head& head, std::size_t from) {
    KMS_ASSIGN(const auto said, named_word(head, from, wire::capability::after));
    if (!said) {
        return 0U;
    }
    const auto version = wire::parse_number(*said, wire::max_version);
    if (!version) {
        return invalid("after= is not followed by a number up to 2147483647");
    }
    return static_cast<std::uint32_t>(*version);
}

Status read_wishes(const Head& head, NewKey& wanted) {
    for (std::size_t i = 2; i < head.words.size(); ++i) {
        const std::string_view word = head.raw_word(i);
        if (word == wire::capability::no_export) {
            if (std::exchange(wanted.no_export, true)) {
                return said_twice(word);
            }
        } else if (!word.starts_with("purpose=") && !word.starts_with("after=")) {
            return invalid("a word behind the algorithm is not known");
        }
    }
    KMS_ASSIGN(const auto said, named_word(head, 2, wire::capability::purpose));
    const auto purpose = wire::parse_purpose(said.value_or(wire::purpose_word(wanted.purpose)));
    if (!purpose) {
        return invalid("purpose= is not followed by seal or wrap");
    }
    wanted.purpose = *purpose;
    KMS_ASSIGN(wanted.after, version_after(head, 2));
    return {};
}

Result<std::optional<KeyTag>> tag_word_at(const Head& head, std::size_t index) {
    if (index >= head.words.size()) {
        return std::optional<KeyTag>();
    }
    const auto tag = wire::parse_tag(head.raw_word(index));
    if (!tag) {
        return invalid("a key tag is 16 lower-case hex digits");
    }
    return tag;
}

}  // namespace kms::agent
