#include "base/key_list.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

namespace kms {
namespace {

// A block of its own size on the heap, so that the sanitizer sees a byte too many.
class Parsed {
  public:
    explicit Parsed(std::string_view text)
        : block_(new std::byte[key_list_size(text)]), problem(parse_key_list(text, block_.get())) {}

    const KeyList& list() const { return *reinterpret_cast<const KeyList*>(block_.get()); }
    std::string identifier(std::int32_t local_id) const {
        const Binding* binding = list().find(local_id);
        return binding == nullptr ? "(none)" : std::string(text_of(list().identifier(*binding)));
    }

  private:
    std::unique_ptr<std::byte[]> block_;

  public:
    std::optional<KeyListProblem> problem;
};

TEST(KeyList, EmptyTextsBindNothing) {
    for (const char* text : {"", " ", "\t\r\n  "}) {
        const Parsed parsed(text);
        EXPECT_FALSE(parsed.problem) << text;
        EXPECT_TRUE(parsed.list().valid);
        EXPECT_EQ(parsed.list().count, 0u);
        EXPECT_EQ(parsed.list().find(1), nullptr);
    }
}

TEST(KeyList, FindsBindingsInAnyOrder) {
    const Parsed parsed("65535=z,2=a%2Cb , 1 = customer-pii,30=x");
    ASSERT_FALSE(parsed.problem);
    EXPECT_EQ(parsed.identifier(1), "customer-pii");
    EXPECT_EQ(parsed.identifier(2), "a,b");
    EXPECT_EQ(parsed.identifier(30), "x");
    EXPECT_EQ(parsed.identifier(65535), "z");
    for (const std::int32_t id : {0, -1, 3, 29, 31, 65534, 65536}) {
        EXPECT_EQ(parsed.list().find(id), nullptr) << id;
    }
    EXPECT_TRUE(parsed.list().binds(bytes_of("a,b")));
    EXPECT_FALSE(parsed.list().binds(bytes_of("a%2Cb")));
}

TEST(KeyList, TakesEveryByteEscaped) {
    std::string identifier;
    std::string text = "7=";
    for (int byte = 0; byte < 256; ++byte) {
        identifier += static_cast<char>(byte);
        char escape[4];
        std::snprintf(escape, sizeof escape, byte % 2 ? "%%%02X" : "%%%02x", byte);
        text += escape;
    }
    const Parsed parsed(text);
    ASSERT_FALSE(parsed.problem);
    EXPECT_EQ(parsed.identifier(7), identifier);
}

TEST(KeyList, ExplainsEverySyntaxError) {
    const struct {
        std::string text;
        std::string_view word;
        std::size_t position;
    } cases[] = {
        {"x", "local id", 0},
        {"=a", "local id", 0},
        {"0=a", "local id", 0},
        {"-1=a", "local id", 0},
        {"65536=a", "local id", 0},
        {"99999999999999999999=a", "local id", 0},
        {"1", "equals sign", 1},
        {"1 a", "equals sign", 2},
        {"1=", "identifier", 2},
        {"1=,2=b", "identifier", 2},
        {"1=a,", "follow the comma", 4},
        {"1=a 2=b", "comma", 4},
        {"1=a;2=b", "comma", 3},
        {"1=a\"", "comma", 3},
        {"1=a%", "percent", 3},
        {"1=a%4", "percent", 3},
        {"1=a%4g", "percent", 3},
        {"1=a%%41", "percent", 3},
        {"1=a,1=b", "twice", 7},
        {",", "local id", 0},
    };
    for (const auto& one : cases) {
        const Parsed parsed(one.text);
        ASSERT_TRUE(parsed.problem) << one.text;
        EXPECT_EQ(parsed.problem->position, one.position) << one.text;
        EXPECT_NE(std::string_view(parsed.problem->what).find(one.word), std::string_view::npos)
            << one.text << ": " << parsed.problem->what;
        EXPECT_FALSE(parsed.list().valid);
        EXPECT_EQ(parsed.list().count, 0u);
    }
}

TEST(KeyList, IdentifiersHaveAtMost1024Bytes) {
    EXPECT_FALSE(Parsed("1=" + std::string(1024, 'a')).problem);
    EXPECT_TRUE(Parsed("1=" + std::string(1025, 'a')).problem);
}

TEST(KeyList, BindsEveryLocalIdAndNoMore) {
    std::string text;
    for (int id = 1; id <= max_local_id; ++id) {
        text += std::to_string(id) + "=a,";
    }
    const Parsed full(text.substr(0, text.size() - 1));
    ASSERT_FALSE(full.problem);
    EXPECT_EQ(full.list().count, 65535u);
    EXPECT_EQ(full.identifier(65535), "a");
    const Parsed more(text + "1=a,2=a");
    ASSERT_TRUE(more.problem);
    EXPECT_EQ(more.problem->position, text.size());
    EXPECT_NE(std::string_view(more.problem->what).find("more bindings"), std::string_view::npos);
}

TEST(KeyList, IsLittleLargerThanItsText) {
    for (const std::string_view entry : {",", "1=a,"}) {
        std::string text;
        for (int i = 0; i < 1000000; ++i) {
            text += entry;
        }
        EXPECT_LT(key_list_size(text), text.size() + 1000000) << entry;
        EXPECT_TRUE(Parsed(text).problem) << entry;
    }
}

TEST(KeyList, WritesWhatItReads) {
    const Parsed first("2=two,1=one");
    const std::string with = with_binding(first.list(), 3, bytes_of("a=b,3=%\n"));
    EXPECT_EQ(with, "1=one, 2=two, 3=a%3Db%2C3%3D%25%0A");
    const Parsed second(with);
    ASSERT_FALSE(second.problem);
    EXPECT_EQ(second.identifier(3), "a=b,3=%\n");
    EXPECT_EQ(second.list().count, 3u);
    const Parsed third(with_binding(second.list(), 2, bytes_of("new")));
    EXPECT_EQ(third.identifier(2), "new");
    EXPECT_EQ(third.list().count, 3u);
    EXPECT_EQ(without_binding(third.list(), 3), "1=one, 2=new");
    EXPECT_EQ(without_binding(third.list(), 99), "1=one, 2=new, 3=a%3Db%2C3%3D%25%0A");
}

TEST(KeyList, SurvivesRandomTexts) {
    std::mt19937 random(1);
    constexpr std::string_view alphabet = "0123=,% aF\x80";
    for (int round = 0; round < 20000; ++round) {
        std::string text(random() % 24, ' ');
        std::ranges::generate(text, [&] { return alphabet[random() % alphabet.size()]; });
        const Parsed parsed(text);
        EXPECT_EQ(parsed.list().valid, !parsed.problem) << text;
        if (parsed.problem) {
            EXPECT_LE(parsed.problem->position, text.size());
        }
    }
}

}  // namespace
}  // namespace kms
