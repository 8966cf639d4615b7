#include "base/escape.hpp"

#include <gtest/gtest.h>

#include "base/floor.hpp"

namespace kms {
namespace {

using enum Alphabet;
using enum Spelling;

std::string every_byte() {
    std::string text;
    for (int byte = 0; byte < 256; ++byte) {
        text += static_cast<char>(byte);
    }
    return text;
}

TEST(Escape, WordsKeepPrintableBytes) {
    EXPECT_EQ(escape(word, bytes_of("a b%c=,~!\n")), "a%20b%25c=,~!%0A");
    EXPECT_EQ(escape(word, bytes_of(std::string_view("\0\x7F\xC3\xA4", 4))), "%00%7F%C3%A4");
    EXPECT_EQ(escape(word, {}), "");
}

TEST(Escape, IdentifiersEscapeWhatSettingsUse) {
    EXPECT_EQ(escape(identifier, bytes_of("hr/salary:v1@x._-")), "hr/salary:v1@x._-");
    EXPECT_EQ(escape(identifier, bytes_of("a=b,c 'd'")), "a%3Db%2Cc%20%27d%27");
}

TEST(Escape, EveryByteComesBack) {
    const std::string text = every_byte();
    for (const Alphabet alphabet : {word, identifier}) {
        const std::string escaped = escape(alphabet, bytes_of(text));
        EXPECT_EQ(unescape(alphabet, only_one, escaped), text);
        EXPECT_EQ(unescape(alphabet, lenient, escaped), text);
    }
}

TEST(Escape, EveryByteAloneStandsForItselfOrNeedsAnEscape) {
    for (const char c : every_byte()) {
        const std::string text(1, c);
        for (const Alphabet alphabet : {word, identifier}) {
            const bool plain = stands_for_itself(alphabet, static_cast<Byte>(c));
            EXPECT_EQ(escape(alphabet, bytes_of(text)).size(), plain ? 1u : 3u);
            EXPECT_EQ(unescape(alphabet, lenient, text).has_value(), plain);
        }
    }
}

TEST(Escape, AppendsBehindWhatIsThere) {
    std::string text = "key ";
    append_escaped(text, word, bytes_of("a b"));
    EXPECT_EQ(text, "key a%20b");
}

TEST(Unescape, RefusesIncompleteEscapes) {
    for (const char* text : {"%", "a%", "%4", "a%4", "%G0", "%0G", "%%41", "% 41", "%-1"}) {
        EXPECT_FALSE(unescape(word, lenient, text)) << text;
        EXPECT_FALSE(unescape(word, only_one, text)) << text;
    }
}

TEST(Unescape, OneSpellingOnlyWhereAsked) {
    EXPECT_EQ(unescape(word, lenient, "%c3%A4"), "\xC3\xA4");
    EXPECT_FALSE(unescape(word, only_one, "%c3%A4"));
    EXPECT_EQ(unescape(word, lenient, "%41"), "A");
    EXPECT_FALSE(unescape(word, only_one, "%41"));
    EXPECT_EQ(unescape(word, only_one, "%25"), "%");
    EXPECT_EQ(unescape(identifier, only_one, "%3D"), "=");
    EXPECT_FALSE(unescape(word, only_one, "%3D"));
}

}  // namespace
}  // namespace kms
