// What kms-blob writes for people.
#include "blob/text.hpp"

#include <gtest/gtest.h>

namespace kms::blob {
namespace {

TEST(PrintableTest, TextStaysAsItIs) {
    for (const char* text : {"", "report.pdf",
                             "Gr\xC3\xBC\xC3\x9F"
                             "e",
                             "\xE2\x82\xAC", "\xF0\x9F\x98\x80", R"({"a": "b\\c\u001b"})"}) {
        EXPECT_EQ(printable(text), text);
    }
}

TEST(PrintableTest, ControlCharactersAreWrittenOut) {
    EXPECT_EQ(printable("a\x1B[2Jb"), R"(a\u001b[2Jb)");
    EXPECT_EQ(printable("a\nb\tc\r"), R"(a\u000ab\u0009c\u000d)");
    EXPECT_EQ(printable(std::string_view("\0", 1)), R"(\u0000)");
    EXPECT_EQ(printable("\x7F"), R"(\u007f)");
    EXPECT_EQ(printable("\xC2\x9B"
                        "31m"),
              R"(\u009b31m)");
    EXPECT_EQ(printable("\xC2\xA0"), "\xC2\xA0");
}

TEST(PrintableTest, SoIsWhatTurnsTheDirection) {
    EXPECT_EQ(printable("a\xE2\x80\xAE"
                        "fdp.exe"),
              R"(a\u202efdp.exe)");
    EXPECT_EQ(printable("\xE2\x81\xA6"), R"(\u2066)");
    EXPECT_EQ(printable("\xE2\x80\x8F\xE2\x80\xA8\xD8\x9C"), R"(\u200f\u2028\u061c)");
}

TEST(PrintableTest, WhatIsNotUtf8IsReplaced) {
    const std::string replaced = "\xEF\xBF\xBD";
    for (const char* text : {"\x80", "\xBF", "\xC0", "\xC1", "\xC2", "\xF5", "\xFF"}) {
        EXPECT_EQ(printable(text), replaced);
    }
    EXPECT_EQ(printable("\x9B"
                        "31m"),
              replaced + "31m");
    EXPECT_EQ(printable("\xC0\x9B"), replaced + replaced);  // too long for its character
    EXPECT_EQ(printable("\xE0\x82\x9B"), replaced + replaced + replaced);  // so is this
    EXPECT_EQ(printable("\xED\xA0\x80"), replaced + replaced + replaced);  // half of a pair
    EXPECT_EQ(printable("\xF4\x90\x80\x80"), replaced + replaced + replaced + replaced);
    EXPECT_EQ(printable("\xE2\x82"), replaced + replaced);
    EXPECT_EQ(printable("\xE2\x82"
                        "a"),
              replaced + replaced + "a");
}

TEST(SizeTextTest, HasOneDigitBehindThePoint) {
    EXPECT_EQ(size_text(0), "0 bytes");
    EXPECT_EQ(size_text(1023), "1023 bytes");
    EXPECT_EQ(size_text(1024), "1.0 KiB");
    EXPECT_EQ(size_text(1536), "1.5 KiB");
    EXPECT_EQ(size_text((1 << 20) - 1), "1.0 MiB");
    EXPECT_EQ(size_text(std::uint64_t{300} << 20), "300.0 MiB");
    EXPECT_EQ(size_text(std::uint64_t{4} << 30), "4.0 GiB");
    EXPECT_EQ(size_text(~std::uint64_t{0}), "16.0 EiB");
}

TEST(ShellWordTest, IsQuotedWhereItMustBe) {
    EXPECT_EQ(shell_word("dir/report-1.pdf"), "dir/report-1.pdf");
    EXPECT_EQ(shell_word("-"), "-");
    EXPECT_EQ(shell_word(""), "''");
    EXPECT_EQ(shell_word("a b"), "'a b'");
    EXPECT_EQ(shell_word("$(rm)"), "'$(rm)'");
    EXPECT_EQ(shell_word("it's"), R"('it'\''s')");
    EXPECT_EQ(shell_word("~"), "'~'");
}

}  // namespace
}  // namespace kms::blob
