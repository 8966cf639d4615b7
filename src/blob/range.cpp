#include "blob/range.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>

#include "base/floor.hpp"

namespace kms::blob {
namespace {

// Offsets in SQL are signed.
constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max() - 1;

std::optional<std::uint64_t> parse_offset(std::string_view text) {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || rest != end || value > largest) {
        return std::nullopt;
    }
    return value;
}

}  // namespace

std::optional<Range> parse_range(std::string_view text) {
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) {
        return std::nullopt;
    }
    const auto start = parse_offset(text.substr(0, dash));
    const std::string_view rest = text.substr(dash + 1);
    const auto last = parse_offset(rest);
    if (!start || (!rest.empty() && !last) || (last && *last < *start)) {
        return std::nullopt;
    }
    return Range{*start, last};
}

Result<Extent> extent_in(const Range& range, std::uint64_t size) {
    if (range.start >= size) {
        return Error{Code::denied, "the range begins at byte " + std::to_string(range.start) +
                                       ", and the blob has " + std::to_string(size) + " bytes"};
    }
    return Extent{range.start, range.last ? std::min(*range.last + 1, size) : size};
}

}  // namespace kms::blob
