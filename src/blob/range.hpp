// Parts of a blob, written as HTTP writes them: START-END, the last byte included, or START-.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.hpp"

namespace kms::blob {

struct Range {
    std::uint64_t start = 0;
    std::optional<std::uint64_t> last;  // of its bytes; nullopt: the blob's last
};

// Bytes from `start` to before `end`.
struct Extent {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
};

std::optional<Range> parse_range(std::string_view text);

// What there is of `range` in a blob of `size` bytes, which may end sooner. Code::denied where it
// begins at the end or beyond.
Result<Extent> extent_in(const Range& range, std::uint64_t size);

}  // namespace kms::blob
