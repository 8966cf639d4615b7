#include "base/hex.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cctype>

#include "base/floor.hpp"

namespace kms {
namespace {

TEST(Hex, WritesLowerCase) {
    const std::array<Byte, 4> bytes{0x00, 0x0F, 0xA5, 0xFF};
    EXPECT_EQ(to_hex(bytes), "000fa5ff");
    EXPECT_EQ(to_hex({}), "");
}

TEST(Hex, EveryByteComesBackInEitherCase) {
    for (int value = 0; value < 256; ++value) {
        const Byte byte = static_cast<Byte>(value);
        std::string text = to_hex({&byte, 1});
        for (int turn = 0; turn < 2; ++turn) {
            const auto back = from_hex(text);
            ASSERT_TRUE(back);
            ASSERT_EQ(back->size(), 1u);
            EXPECT_EQ(back->view()[0], byte);
            text[0] = static_cast<char>(std::toupper(text[0]));
            text[1] = static_cast<char>(std::toupper(text[1]));
        }
    }
}

TEST(Hex, EmptyTextIsNoBytes) {
    const auto bytes = from_hex("");
    ASSERT_TRUE(bytes);
    EXPECT_TRUE(bytes->empty());
}

TEST(Hex, RefusesEverythingElse) {
    for (const char* text :
         {"0", "000", "0g", "g0", "0x", " 00", "00 ", "-1", "/0", ":0", "@0", "`0"}) {
        EXPECT_FALSE(from_hex(text)) << text;
    }
    EXPECT_FALSE(from_hex(std::string_view("\0\0", 2)));
}

}  // namespace
}  // namespace kms
