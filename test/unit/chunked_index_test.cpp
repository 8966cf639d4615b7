#include "crypto/chunked_index.hpp"

#include <gtest/gtest.h>

#include "base/floor.hpp"

namespace kms::chunked {
namespace {

constexpr std::uint64_t beyond_all = ~std::uint64_t{0};

TEST(ChunkedIndex, LengthsOfTheDocument) {
    EXPECT_EQ(message_length(0), 56U + 16);
    EXPECT_EQ(message_length(1024), 56U + 1024 + 16);
    EXPECT_EQ(message_length(16383), 56U + 16383 + 16);
    EXPECT_EQ(message_length(16384), 56U + 16384 + 16 + 16);
    EXPECT_EQ(message_length(20480), 56U + 20480 + 32);
}

TEST(ChunkedIndex, EveryLengthIsThatOfOneMessageOrOfNone) {
    std::uint64_t plaintext = 0;
    for (std::uint64_t message = 0; message < 56 + 3 * 16400 + 100; ++message) {
        if (message_length(plaintext) == message) {
            EXPECT_EQ(plaintext_length(message), plaintext);
            ++plaintext;
        } else {
            EXPECT_EQ(plaintext_length(message), std::nullopt) << message;
        }
    }
    EXPECT_EQ(plaintext, 3 * 16384U + 84);
}

TEST(ChunkedIndex, TheLongestMessage) {
    const std::uint64_t longest = std::uint64_t{1} << 52;
    EXPECT_EQ(max_plaintext_length, longest - 1);
    EXPECT_EQ(message_length(longest - 1), max_message_length);
    EXPECT_EQ(plaintext_length(max_message_length), longest - 1);
    EXPECT_EQ(position_of(longest - 1), (Position{max_chunks - 1, 16383}));
    EXPECT_EQ(message_offset(max_chunks - 1), 56 + (max_chunks - 1) * 16400);
    EXPECT_EQ(plaintext_offset(max_chunks - 1), longest - 16384);
    EXPECT_EQ(sealed_length_of(max_chunks - 1, longest - 1), 16399U);
    EXPECT_EQ(sealed_length_of(max_chunks - 2, longest - 1), 16400U);
}

TEST(ChunkedIndex, NothingBeyondIt) {
    for (const std::uint64_t more :
         {max_plaintext_length + 1, std::uint64_t{1} << 63, beyond_all}) {
        EXPECT_EQ(message_length(more), std::nullopt);
        EXPECT_EQ(position_of(more), std::nullopt);
        EXPECT_EQ(sealed_length_of(0, more), std::nullopt);
        EXPECT_EQ(plaintext_length(more * 2), std::nullopt);
    }
    EXPECT_EQ(plaintext_length(max_message_length + 1), std::nullopt);
    EXPECT_EQ(plaintext_length(max_message_length + 17), std::nullopt);
    for (const std::uint64_t chunk : {max_chunks, std::uint64_t{1} << 63, beyond_all}) {
        EXPECT_EQ(message_offset(chunk), std::nullopt);
        EXPECT_EQ(plaintext_offset(chunk), std::nullopt);
        EXPECT_EQ(sealed_length_of(chunk, max_plaintext_length), std::nullopt);
    }
}

TEST(ChunkedIndex, ChunksOfAMessage) {
    EXPECT_EQ(sealed_length_of(0, 0), 16U);
    EXPECT_EQ(sealed_length_of(1, 0), std::nullopt);
    EXPECT_EQ(sealed_length_of(0, 16384), 16400U);
    EXPECT_EQ(sealed_length_of(1, 16384), 16U);
    EXPECT_EQ(sealed_length_of(2, 16384), std::nullopt);
    EXPECT_EQ(position_of(16383), (Position{0, 16383}));
    EXPECT_EQ(position_of(16384), (Position{1, 0}));
    EXPECT_EQ(message_offset(0), 56U);
    EXPECT_EQ(message_offset(3), 56U + 3 * 16400);
    EXPECT_TRUE(is_final(16));
    EXPECT_TRUE(is_final(16399));
    EXPECT_FALSE(is_final(16400));
}

TEST(ChunkedIndex, OffsetsAddUp) {
    for (const std::uint64_t plaintext : {0, 1, 16384, 16385, 50000}) {
        std::uint64_t chunk = 0;
        std::uint64_t place = header_length;
        while (const auto size = sealed_length_of(chunk, plaintext)) {
            EXPECT_EQ(message_offset(chunk), place);
            place += *size;
            ++chunk;
        }
        EXPECT_EQ(message_length(plaintext), place);
    }
}

}  // namespace
}  // namespace kms::chunked
