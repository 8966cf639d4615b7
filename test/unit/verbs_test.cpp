// The vocabulary of kms/1: one spelling for everything, round trips, refusals.
#include "wire/verbs.hpp"

#include <gtest/gtest.h>

namespace kms::wire {
namespace {

constexpr KeyTag some_tag{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0xAA, 0xFF};

TEST(VerbsCodes, AreFixedWords) {
    for (const char* word : {"unsupported", "invalid", "not-found", "denied", "disabled",
                             "wrong-key", "corrupt", "unavailable", "failed"}) {
        const auto code = error_code(word);
        ASSERT_TRUE(code) << word;
        EXPECT_EQ(error_word(*code), word);
    }
    for (const char* word : {"", "Invalid", "not_found", "timed-out", "protocol", "failed "}) {
        EXPECT_FALSE(error_code(word)) << word;
    }
    EXPECT_EQ(error_word(Code::malformed), "invalid");
    EXPECT_EQ(error_word(Code::too_large), "invalid");
    EXPECT_EQ(error_word(Code::io), "failed");
    EXPECT_EQ(error_word(Code::internal), "failed");
    EXPECT_EQ(error_word(Code::timed_out), "failed");
}

TEST(VerbsFields, KeepEveryByte) {
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) {
        every_byte += static_cast<char>(byte);
    }
    const std::vector<Field> fields{{"role", every_byte}, {"client", ""}, {"x", "a=b"}};
    const std::string body = write_fields(fields);
    EXPECT_EQ(std::count(body.begin(), body.end(), '\n'), 3);
    const auto parsed = parse_fields(bytes_of(body));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, fields);
    EXPECT_EQ(field(*parsed, "role"), every_byte);
    EXPECT_EQ(field(*parsed, "client"), "");
    EXPECT_EQ(field(*parsed, "none"), "");
}

TEST(VerbsFields, AreStrict) {
    EXPECT_TRUE(parse_fields({}));
    EXPECT_TRUE(parse_fields(bytes_of("a=\n")));
    for (const char* body : {"a=b", "a\n", "\n", "=b\n", "a=b\n\n", "a=b c\n", "a b=c\n", "a=%4\n",
                             "a=%41\n", "a=%0a\n", "a%=b\n", "a=b\r\n", "a=\xC3\xA4\n"}) {
        const auto parsed = parse_fields(bytes_of(body));
        EXPECT_TRUE(!parsed && parsed.error().code == Code::protocol) << body;
    }
}

TEST(VerbsTag, IsSixteenLowerCaseDigits) {
    EXPECT_EQ(tag_word(some_tag), "001122334455aaff");
    EXPECT_EQ(parse_tag("001122334455aaff"), some_tag);
    for (const char* word : {"", "001122334455aaf", "001122334455aaff0", "001122334455aaff00",
                             "001122334455AAFF", "001122334455aafg", "0x1122334455aaff"}) {
        EXPECT_FALSE(parse_tag(word)) << word;
    }
}

TEST(VerbsState, IsAWord) {
    for (const auto state :
         {VersionState::enabled, VersionState::disabled, VersionState::destroyed}) {
        EXPECT_EQ(parse_state(state_word(state)), state);
    }
    EXPECT_FALSE(parse_state(""));
    EXPECT_FALSE(parse_state("Enabled"));
    EXPECT_EQ(state_word(VersionState{9}), "");
}

TEST(VerbsList, IsALineAVersion) {
    std::string body;
    append_listed(body, {"a b", 1, "aes-256-gcm", some_tag, VersionState::enabled, 0});
    append_listed(body, {std::string(1, '\0'), 2147483647, "x", some_tag, VersionState::destroyed,
                         1769903999});
    EXPECT_EQ(body,
              "a%20b 1 aes-256-gcm 001122334455aaff enabled 1970-01-01T00:00:00Z\n"
              "%00 2147483647 x 001122334455aaff destroyed 2026-01-31T23:59:59Z\n");
    const auto parsed = parse_listed(bytes_of(body));
    ASSERT_TRUE(parsed);
    ASSERT_EQ(parsed->size(), 2u);
    EXPECT_EQ((*parsed)[0].key, "a b");
    EXPECT_EQ((*parsed)[1].key, std::string(1, '\0'));
    EXPECT_EQ((*parsed)[1].version, 2147483647u);
    EXPECT_EQ((*parsed)[1].algorithm, "x");
    EXPECT_EQ((*parsed)[1].tag, some_tag);
    EXPECT_EQ((*parsed)[1].state, VersionState::destroyed);
    EXPECT_EQ((*parsed)[1].created, 1769903999);
}

TEST(VerbsList, MayEndWithWhatTheKeyIsFor) {
    std::string body;
    append_listed(body, {"a", 1, "x", some_tag, VersionState::enabled, 0, {"wrap", false}});
    append_listed(body, {"b", 1, "x", some_tag, VersionState::enabled, 0, {"seal", true}});
    append_listed(body, {"c", 1, "x", some_tag, VersionState::enabled, 0, {"a b", std::nullopt}});
    EXPECT_EQ(body,
              "a 1 x 001122334455aaff enabled 1970-01-01T00:00:00Z wrap no-export\n"
              "b 1 x 001122334455aaff enabled 1970-01-01T00:00:00Z seal exportable\n"
              "c 1 x 001122334455aaff enabled 1970-01-01T00:00:00Z a%20b\n");
    const auto parsed = parse_listed(bytes_of(body));
    ASSERT_TRUE(parsed);
    EXPECT_EQ((*parsed)[0].uses.purpose, "wrap");
    EXPECT_EQ((*parsed)[0].uses.exportable, false);
    EXPECT_EQ((*parsed)[1].uses.exportable, true);
    EXPECT_EQ((*parsed)[2].uses.purpose, "a b");
    EXPECT_EQ((*parsed)[2].uses.exportable, std::nullopt);
    EXPECT_EQ(parse_uses("", "").purpose, "");
    for (const Purpose purpose : {Purpose::seal, Purpose::wrap}) {
        EXPECT_EQ(parse_purpose(purpose_word(purpose)), purpose);
    }
    EXPECT_FALSE(parse_purpose("Wrap"));
    EXPECT_EQ(purpose_word(Purpose{9}), "");
}

TEST(VerbsList, KeepsTimesWithinFourDigitYears) {
    for (const std::int64_t created : {INT64_MIN, INT64_MAX, std::int64_t{951782400}}) {
        std::string body;
        append_listed(body, {"k", 1, "x", some_tag, VersionState::enabled, created});
        EXPECT_TRUE(parse_listed(bytes_of(body))) << body;
    }
}

std::string with(std::string_view version, std::string_view tag, std::string_view state,
                 std::string_view created) {
    std::string line = "key ";
    for (const std::string_view word : {version, std::string_view("x"), tag, state, created}) {
        line += word;
        line += ' ';
    }
    line.back() = '\n';
    return line;
}

TEST(VerbsList, IsStrict) {
    constexpr std::string_view tag = "001122334455aaff";
    constexpr std::string_view time = "2026-01-31T23:59:59Z";
    EXPECT_TRUE(parse_listed({}));
    EXPECT_TRUE(parse_listed(bytes_of(with("1", tag, "enabled", time))));
    EXPECT_TRUE(parse_listed(bytes_of(with("1", tag, "enabled", "2026-01-31T23:59:59Z later"))));
    const std::string good = with("1", tag, "enabled", time);
    for (std::size_t length = 1; length < good.size(); ++length) {
        EXPECT_FALSE(parse_listed(bytes_of(good).first(length))) << length;
    }
    for (const char* version : {"0", "01", "-1", "2147483648", "", "x"}) {
        EXPECT_FALSE(parse_listed(bytes_of(with(version, tag, "enabled", time)))) << version;
    }
    for (const char* wrong :
         {"2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
          "2026-01-00T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T23:60:59Z",
          "2026-01-31T23:59:60Z", "2026-01-31T23:59:59+00:00", "2026-01-31T23:59:59",
          "2026-01-31%2023:59:59Z", "26-01-31T23:59:59Z", "+026-01-31T23:59:59Z"}) {
        EXPECT_FALSE(parse_listed(bytes_of(with("1", tag, "enabled", wrong)))) << wrong;
    }
    EXPECT_FALSE(parse_listed(bytes_of(with("1", "00", "enabled", time))));
    EXPECT_FALSE(parse_listed(bytes_of(with("1", tag, "gone", time))));
    EXPECT_FALSE(parse_listed(bytes_of("\n")));
    EXPECT_FALSE(parse_listed(bytes_of(" " + good)));
    EXPECT_FALSE(parse_listed(bytes_of("key  " + good.substr(4))));
    EXPECT_FALSE(parse_listed(bytes_of(std::string(1025, 'k') + good.substr(3))));
}

}  // namespace
}  // namespace kms::wire
