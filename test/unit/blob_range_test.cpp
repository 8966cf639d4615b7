// Ranges as kms-blob takes them, and the lengths of its pieces.
#include "blob/range.hpp"

#include <gtest/gtest.h>

#include "blob/pieces.hpp"

namespace kms::blob {
namespace {

void expect_range(std::string_view text, std::uint64_t start, std::optional<std::uint64_t> last) {
    const auto range = parse_range(text);
    ASSERT_TRUE(range) << text;
    EXPECT_EQ(range->start, start) << text;
    EXPECT_EQ(range->last, last) << text;
}

TEST(RangeTest, IsReadAsHttpWritesIt) {
    expect_range("0-0", 0, 0);
    expect_range("0-", 0, std::nullopt);
    expect_range("5-17", 5, 17);
    expect_range("007-9", 7, 9);
    expect_range("9223372036854775806-9223372036854775806", 9223372036854775806,
                 9223372036854775806);
}

TEST(RangeTest, NothingElseIsOne) {
    for (const char* text :
         {"", "-", "-5", "5", "5-4", "a-b", "1-b", "1-2-3", "1 - 2", " 1-2", "1-2 ", "+1-2",
          "0x1-2", "1--2", "9223372036854775807-", "0-9223372036854775807", "18446744073709551616-",
          "99999999999999999999999-"}) {
        EXPECT_FALSE(parse_range(text)) << text;
    }
}

TEST(RangeTest, EndsWithTheBlob) {
    const auto whole = extent_in({0, std::nullopt}, 10);
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->start, 0U);
    EXPECT_EQ(whole->end, 10U);
    EXPECT_EQ(extent_in({9, 9}, 10)->end, 10U);
    EXPECT_EQ(extent_in({3, 9223372036854775806}, 10)->end, 10U);
    EXPECT_EQ(extent_in({3, 3}, 10)->end, 4U);
}

TEST(RangeTest, MustBeginWithinTheBlob) {
    EXPECT_EQ(extent_in({10, std::nullopt}, 10).error().code, Code::denied);
    EXPECT_EQ(extent_in({0, std::nullopt}, 0).error().code, Code::denied);
    EXPECT_EQ(extent_in({11, 12}, 10).error().text,
              "the range begins at byte 11, and the blob has 10 bytes");
}

TEST(PiecesTest, AreWholeRowsAndFitIntoTheirBuffers) {
    for (const std::uint64_t sent : {std::uint64_t{0}, 8 * gibibyte - 1, 8 * gibibyte,
                                     32 * gibibyte - 1, 32 * gibibyte, 1024 * gibibyte}) {
        EXPECT_EQ(piece_length(sent) % row_length, 0U);
        EXPECT_LT(piece_length(sent), 16 * mebibyte);
    }
    EXPECT_EQ(piece_length(0), 8 * mebibyte - row_length);
    EXPECT_EQ(piece_length(1), 4 * mebibyte - row_length);
    EXPECT_EQ(piece_length(8 * gibibyte), 8 * mebibyte - row_length);
    EXPECT_EQ(piece_length(32 * gibibyte), 16 * mebibyte - row_length);
}

TEST(PiecesTest, SufficeForWhatIsPromised) {
    constexpr int most_segments = 65536;
    std::uint64_t sent = 0;
    int segments = 0;
    for (; sent < 950 * gibibyte; sent += piece_length(sent)) {
        ++segments;
    }
    EXPECT_LE(segments, most_segments);
}

}  // namespace
}  // namespace kms::blob
