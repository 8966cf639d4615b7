#include "wire/verbs.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "base/escape.hpp"
#include "base/hex.hpp"
#include "crypto/search_term.hpp"
#include "wire/frame.hpp"

#include "base/floor.hpp"

namespace kms::wire {
namespace {

struct NamedCode {
    Code code;
    std::string_view word;
};

constexpr std::array<NamedCode, 9> named_codes{{
    {Code::unsupported, "unsupported"},
    {Code::invalid, "invalid"},
    {Code::not_found, "not-found"},
    {Code::denied, "denied"},
    {Code::disabled, "disabled"},
    {Code::wrong_key, "wrong-key"},
    {Code::corrupt, "corrupt"},
    {Code::unavailable, "unavailable"},
    {Code::failed, "failed"},
}};

struct NamedState {
    VersionState state;
    std::string_view word;
};

constexpr std::array<NamedState, 3> named_states{{
    {VersionState::enabled, "enabled"},
    {VersionState::disabled, "disabled"},
    {VersionState::destroyed, "destroyed"},
}};

constexpr std::string_view blind_index_use = "blind-index/";

struct NamedPurpose {
    Purpose purpose;
    std::string_view word;
};

constexpr std::array<NamedPurpose, 2> named_purposes{{
    {Purpose::seal, "seal"},
    {Purpose::wrap, "wrap"},
}};

// The bytes before the next LF, which are cut off `text`; nullopt where no LF is left.
std::optional<std::string_view> cut_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    return line;
}

bool is_field_name(std::string_view name) {
    return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return stands_for_itself(Alphabet::word, static_cast<Byte>(c));
    });
}

std::optional<Field> parse_field(std::string_view line) {
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos || !is_field_name(line.substr(0, equals))) {
        return std::nullopt;
    }
    auto value = unescape(Alphabet::word, Spelling::only_one, line.substr(equals + 1));
    if (!value) {
        return std::nullopt;
    }
    return Field{line.substr(0, equals), std::move(*value)};
}

// nullopt where a word is not spelled as one.
std::optional<std::vector<std::string_view>> split_words(std::string_view line) {
    std::vector<std::string_view> words;
    for (;;) {
        const std::size_t end = std::min(line.find(' '), line.size());
        words.push_back(line.substr(0, end));
        if (!is_word(words.back())) {
            return std::nullopt;
        }
        if (end == line.size()) {
            return words;
        }
        line.remove_prefix(end + 1);
    }
}

std::string word_text(std::string_view word) {
    return unescape(Alphabet::word, Spelling::only_one, word).value_or(std::string());
}

constexpr std::string_view time_shape = "0000-00-00T00:00:00Z";
constexpr std::int64_t first_second = -62167219200;  // of the year 0
constexpr std::int64_t last_second = 253402300799;   // of the year 9999

bool has_time_shape(std::string_view text) {
    return std::equal(
        text.begin(), text.end(), time_shape.begin(), time_shape.end(),
        [](char c, char shape) { return shape == '0' ? c >= '0' && c <= '9' : c == shape; });
}

unsigned digits_at(std::string_view text, std::size_t from, std::size_t count) {
    unsigned number = 0;
    for (const char digit : text.substr(from, count)) {
        number = 10 * number + static_cast<unsigned>(digit - '0');
    }
    return number;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
    using namespace std::chrono;
    if (!has_time_shape(text)) {
        return std::nullopt;
    }
    const year_month_day date{year(static_cast<int>(digits_at(text, 0, 4))),
                              month(digits_at(text, 5, 2)), day(digits_at(text, 8, 2))};
    const unsigned hour = digits_at(text, 11, 2);
    const unsigned minute = digits_at(text, 14, 2);
    const unsigned second = digits_at(text, 17, 2);
    if (!date.ok() || hour > 23 || minute > 59 || second > 59) {
        return std::nullopt;
    }
    const sys_seconds midnight = sys_days(date);
    return midnight.time_since_epoch().count() + hour * 3600 + minute * 60 + second;
}

// "" where there are not so many.
std::string_view word_at(std::span<const std::string_view> words, std::size_t index) {
    return index < words.size() ? words[index] : std::string_view();
}

}  // namespace

std::string_view error_word(Code code) {
    for (const NamedCode& named : named_codes) {
        if (named.code == code) {
            return named.word;
        }
    }
    const bool about_the_input = code == Code::malformed || code == Code::too_large;
    return about_the_input ? "invalid" : "failed";
}

std::optional<Code> error_code(std::string_view word) {
    for (const NamedCode& named : named_codes) {
        if (named.word == word) {
            return named.code;
        }
    }
    return std::nullopt;
}

std::string write_fields(const std::vector<Field>& fields) {
    std::string body;
    for (const auto& [name, value] : fields) {
        body += name;
        body += '=';
        append_escaped(body, Alphabet::word, bytes_of(value));
        body += '\n';
    }
    return body;
}

Result<std::vector<Field>> parse_fields(ByteView body) {
    std::vector<Field> fields;
    std::string_view rest = text_of(body);
    while (!rest.empty()) {
        const auto line = cut_line(rest);
        auto parsed = line ? parse_field(*line) : std::nullopt;
        if (!parsed) {
            return Error{Code::protocol, "a body is not made of `name=value` lines"};
        }
        fields.push_back(std::move(*parsed));
    }
    return fields;
}

std::string_view field(const std::vector<Field>& fields, std::string_view name) {
    const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& candidate) {
        return candidate.first == name;
    });
    return found == fields.end() ? std::string_view{} : found->second;
}

std::string blind_index_word(unsigned bits) {
    return std::string(blind_index_use) + std::to_string(bits);
}

std::optional<unsigned> parse_blind_index(std::string_view word) {
    if (!word.starts_with(blind_index_use)) {
        return std::nullopt;
    }
    const auto bits = parse_number(word.substr(blind_index_use.size()), most_term_bits);
    if (!bits || !is_term_size(*bits)) {
        return std::nullopt;
    }
    return static_cast<unsigned>(*bits);
}

std::string tag_word(const KeyTag& tag) {
    return to_hex(tag);
}

std::optional<KeyTag> parse_tag(std::string_view word) {
    KeyTag tag;
    const bool has_capitals = std::ranges::any_of(word, [](char c) { return c < 'a' && c > '9'; });
    if (has_capitals || !read_hex(word, tag)) {
        return std::nullopt;
    }
    return tag;
}

std::string_view state_word(VersionState state) {
    for (const NamedState& named : named_states) {
        if (named.state == state) {
            return named.word;
        }
    }
    return {};
}

std::optional<VersionState> parse_state(std::string_view word) {
    for (const NamedState& named : named_states) {
        if (named.word == word) {
            return named.state;
        }
    }
    return std::nullopt;
}

std::string_view purpose_word(Purpose purpose) {
    for (const NamedPurpose& named : named_purposes) {
        if (named.purpose == purpose) {
            return named.word;
        }
    }
    return {};
}

std::optional<Purpose> parse_purpose(std::string_view word) {
    for (const NamedPurpose& named : named_purposes) {
        if (named.word == word) {
            return named.purpose;
        }
    }
    return std::nullopt;
}

void append_time(std::string& out, std::int64_t seconds) {
    using namespace std::chrono;
    const sys_seconds time{std::chrono::seconds(std::clamp(seconds, first_second, last_second))};
    const auto day = floor<days>(time);
    const year_month_day date{day};
    const hh_mm_ss clock{time - day};
    std::array<char, 32> text;
    const int size = std::snprintf(
        text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
        static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
        static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
        static_cast<int>(clock.seconds().count()));
    out.append(text.data(), static_cast<std::size_t>(size));
}

void append_listed(std::string& out, const ListedVersion& listed) {
    append_escaped(out, Alphabet::word, bytes_of(listed.key));
    out += ' ';
    out += std::to_string(listed.version);
    out += ' ';
    append_escaped(out, Alphabet::word, bytes_of(listed.algorithm));
    out += ' ';
    out += tag_word(listed.tag);
    out += ' ';
    out += state_word(listed.state);
    out += ' ';
    append_time(out, listed.created);
    if (!listed.uses.purpose.empty()) {
        out += ' ';
        append_escaped(out, Alphabet::word, bytes_of(listed.uses.purpose));
    }
    if (!listed.uses.purpose.empty() && listed.uses.exportable) {
        out += ' ';
        out += export_word(*listed.uses.exportable);
    }
    out += '\n';
}

std::string_view export_word(bool may_leave) {
    return may_leave ? exportable : capability::no_export;
}

KeyUses parse_uses(std::string_view purpose, std::string_view exported) {
    KeyUses uses;
    uses.purpose = word_text(purpose);
    if (exported == exportable || exported == capability::no_export) {
        uses.exportable = exported == exportable;
    }
    return uses;
}

std::optional<ListedVersion> parse_listed_words(std::span<const std::string_view> words) {
    if (words.size() < 6) {
        return std::nullopt;
    }
    const auto version = parse_number(words[1], max_version);
    const auto tag = parse_tag(words[3]);
    const auto state = parse_state(words[4]);
    const auto created = parse_time(words[5]);
    if (!version || *version == 0 || !tag || !state || !created) {
        return std::nullopt;
    }
    return ListedVersion{word_text(words[0]),
                         static_cast<std::uint32_t>(*version),
                         word_text(words[2]),
                         *tag,
                         *state,
                         *created,
                         parse_uses(word_at(words, 6), word_at(words, 7))};
}

Result<std::vector<ListedVersion>> parse_listed(ByteView body) {
    std::vector<ListedVersion> versions;
    std::string_view rest = text_of(body);
    while (!rest.empty()) {
        const auto line = cut_line(rest);
        const auto words = line ? split_words(*line) : std::nullopt;
        auto parsed = words ? parse_listed_words(*words) : std::nullopt;
        if (!parsed) {
            return Error{Code::protocol, "a line of the list of keys is not well-formed"};
        }
        versions.push_back(std::move(*parsed));
    }
    return versions;
}

}  // namespace kms::wire
