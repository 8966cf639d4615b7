// The verb `import`: a version that was made elsewhere goes on under its number.
#include "conversation.hpp"

namespace kms::agent {
namespace {

constexpr std::string_view created = "2026-01-31T23:59:59Z";
constexpr std::string_view destroyed_tag = "0011223344556677";

std::string tag_of(std::string_view key) {
    return wire::tag_word(*compute_key_tag(default_algorithm, bytes_of(key)));
}

std::string words(std::string_view number, std::string_view tag, std::string_view state = "enabled",
                  std::string_view algorithm = "xaes-256-gcm") {
    std::string all = "a";
    for (const std::string_view word : {number, algorithm, tag, state, created}) {
        all.append(" ").append(word);
    }
    return all;
}

class ServeImport : public testing::Test {
  protected:
    Answer import_key(std::string_view number, std::string_view key,
                      std::string_view state = "enabled") {
        return ask(store, "import", words(number, tag_of(key), state), key);
    }

    KeyringStore store;
    const std::string first{imported_key};
    const std::string second = first.substr(1) + "w";
};

TEST_F(ServeImport, GoesOnAsItWas) {
    const Answer imported = import_key("3", first, "disabled");
    EXPECT_EQ(imported.words, (std::vector<std::string>{"3", "xaes-256-gcm", tag_of(first)}));
    ASSERT_EQ(ask(store, "import", words("5", destroyed_tag, "destroyed")).verb, "ok");
    ASSERT_EQ(import_key("6", second).verb, "ok");
    EXPECT_EQ(ask(store, "list", "a").body,
              words("3", tag_of(first), "disabled") + " seal exportable\n" +
                  words("5", destroyed_tag, "destroyed") + " seal exportable\n" +
                  words("6", tag_of(second)) + " seal exportable\n");
    EXPECT_EQ(ask(store, "get", "a").body, second);
    EXPECT_EQ(ask(store, "get", "a " + tag_of(first)).verb, "disabled");
    EXPECT_EQ(ask(store, "enable", "a 5").verb, "disabled");
    ASSERT_EQ(ask(store, "enable", "a 3").verb, "ok");
    EXPECT_EQ(ask(store, "get", "a " + tag_of(first)).body, first);
    EXPECT_EQ(ask(store, "rotate", "a").words.at(0), "7");
}

TEST_F(ServeImport, FillsAGapThatAnOlderCopyLeft) {
    ASSERT_EQ(import_key("3", first).verb, "ok");
    ASSERT_EQ(import_key("1", second).verb, "ok");
    EXPECT_EQ(ask(store, "list", "a").body, words("1", tag_of(second)) + " seal exportable\n" +
                                                words("3", tag_of(first)) + " seal exportable\n");
    EXPECT_EQ(ask(store, "get", "a").body, first);
    EXPECT_EQ(ask(store, "get", "a " + tag_of(second)).body, second);
    EXPECT_EQ(ask(store, "rotate", "a").words.at(0), "4");
}

TEST_F(ServeImport, RefusesWhatDoesNotFit) {
    ASSERT_EQ(import_key("3", first).verb, "ok");
    for (const char* number : {"3", "0", "2147483648", "x"}) {
        EXPECT_EQ(import_key(number, second).verb, "invalid") << number;
    }
    EXPECT_EQ(import_key("4", first).verb, "invalid");
    EXPECT_EQ(ask(store, "import", words("4", tag_of(first)), second).verb, "invalid");
    EXPECT_EQ(ask(store, "import", words("4", tag_of(second)), second.substr(1)).verb, "invalid");
    EXPECT_EQ(ask(store, "import", words("4", tag_of(second))).verb, "invalid");
    EXPECT_EQ(ask(store, "import", words("4", tag_of(second), "destroyed"), second).verb,
              "invalid");
    EXPECT_EQ(ask(store, "import", words("4", tag_of(second), "gone"), second).verb, "invalid");
    const std::string siv = words("4", destroyed_tag, "destroyed", "aes-256-siv");
    EXPECT_EQ(ask(store, "import", siv).verb, "invalid");
    EXPECT_EQ(ask(store, "import", words("4", tag_of(second), "enabled", "rot13"), second).verb,
              "invalid");
    EXPECT_EQ(ask(store, "import", "").verb, "invalid");
    EXPECT_EQ(ask(store, "import", "a 4 xaes-256-gcm " + tag_of(second) + " enabled", second).verb,
              "invalid");
    const std::string early =
        "a 4 xaes-256-gcm " + tag_of(second) + " enabled 1969-12-31T23:59:59Z";
    EXPECT_EQ(ask(store, "import", early, second).verb, "invalid");
    const std::string weak(32, 'k');
    EXPECT_EQ(import_key("4", weak).verb, "invalid");
    EXPECT_EQ(ask(store, "list", "a").words.at(0), "1");
}

TEST_F(ServeImport, GoesToNoKeyThatStays) {
    ASSERT_EQ(ask(store, "create", "a xaes-256-gcm no-export").verb, "ok");
    EXPECT_EQ(import_key("2", first).verb, "denied");
    EXPECT_EQ(ask(store, "list", "a").words.at(0), "1");
}

TEST_F(ServeImport, TakesNothingThatWrapsOrStays) {
    for (const char* uses : {" wrap no-export", " seal no-export", " wrap", " mac"}) {
        EXPECT_EQ(ask(store, "import", words("1", tag_of(first)) + uses, first).verb, "denied")
            << uses;
    }
    EXPECT_EQ(ask(store, "import", words("1", tag_of(first)) + " seal exportable more", first).verb,
              "ok");
}

TEST_F(ServeImport, IsOfferedByNameOnly) {
    const OfferedVerbs few({"get", "create"});
    const auto answers = parse(
        converse(store,
                 "hello 0 0 kms/1\n" + request("import", 1, words("1", tag_of(first)), first), few)
            .output);
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(std::ranges::count(answers[0].words, "import"), 0);
    EXPECT_EQ(answers[1].verb, "unsupported");
}

}  // namespace
}  // namespace kms::agent
