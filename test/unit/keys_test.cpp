// The typed verbs: what they send, and that no reply is believed which does not hold together.
#include "client/calls/keys.hpp"

#include "agent_harness.hpp"

namespace kms::test {
namespace {

const std::string id = "some key";
const KeyWish siv = {.algorithm = Algorithm::aes_256_siv};
constexpr KeyTag listed_tag{0, 1, 2, 3, 4, 5, 6, 7};

const wire::ListedVersion imported{id, 7, "aes-256-siv", listed_tag, wire::VersionState::disabled,
                                   1};

class KeysTest : public AgentTest {};

TEST_F(KeysTest, SendsWhatTheProtocolSays) {
    ASSERT_TRUE(start(mirror()));
    const auto said = [](const auto& result) {
        return result ? std::string("success") : result.error().text;
    };
    const ByteView key = bytes_of(id);
    EXPECT_EQ(said(describe_key(line(), key)), "describe 0 some%20key ");
    EXPECT_EQ(said(create_key(line(), key, siv)), "create 0 some%20key aes-256-siv ");
    EXPECT_EQ(said(rotate_key(line(), key, 0)), "rotate 0 some%20key ");
    EXPECT_EQ(
        said(import_version(line(), imported, bytes_of("raw"))),
        "import 3 some%20key 7 aes-256-siv 0001020304050607 disabled 1970-01-01T00:00:01Z raw");
    EXPECT_EQ(said(list_keys(line(), {})), "list 0  ");
    EXPECT_EQ(said(list_keys(line(), bytes_of("so"))), "list 0 so ");
    EXPECT_EQ(said(change_version(line(), "destroy", key, 12)), "destroy 0 some%20key 12 ");
    EXPECT_EQ(said(wrap_key(line(), key, bytes_of("ctx"), bytes_of("data"))),
              "wrap 7 some%20key 3 ctxdata");
    EXPECT_EQ(said(unwrap_key(line(), key, {}, bytes_of("data"), 64)),
              "unwrap 4 some%20key 0 data");
    EXPECT_EQ(said(rotate_key(line(), {}, 0)), "a word must have 1 to 1024 bytes");
}

class WrapTest : public AgentTest {
  protected:
    Result<WrappedSecret> wrap() {
        return wrap_key(line(), bytes_of(id), bytes_of("ct"), bytes_of("abc"));
    }
    Result<WrappedSecret> unwrap(std::uint64_t longest = 5) {
        return unwrap_key(line(), bytes_of(id), bytes_of("ct"), bytes_of("abc"), longest);
    }
    static Status status(const Result<WrappedSecret>& result) {
        return result ? Status() : result.error();
    }
};

TEST_F(WrapTest, TakesVersionAndBytes) {
    answering("ok {id} 3 7 later words\\nxyz");
    const auto wrapped = wrap();
    ASSERT_TRUE(wrapped);
    EXPECT_EQ(wrapped->version, 7u);
    EXPECT_EQ(text_of(wrapped->bytes.view()), "xyz");
    answering("ok {id} 5\\n12345");
    const auto unwrapped = unwrap();
    ASSERT_TRUE(unwrapped);
    EXPECT_EQ(unwrapped->version, 1u);
    EXPECT_EQ(text_of(unwrapped->bytes.view()), "12345");
    answering("ok {id} 0 2147483647\\n");
    EXPECT_EQ(unwrap(0)->version, 2147483647u);
}

TEST_F(WrapTest, BelievesNoVersionThatIsNone) {
    for (const char* version : {"0", "01", "x", "-1", "2147483648", "%20"}) {
        answering("ok {id} 1 " + std::string(version) + "\\nx");
        EXPECT_TRUE(fails(status(wrap()), Code::protocol, "no proper key version")) << version;
        EXPECT_FALSE(agent.running());
        answering("ok {id} 1 " + std::string(version) + "\\nx");
        EXPECT_TRUE(fails(status(unwrap()), Code::protocol, "no proper key version")) << version;
    }
}

TEST_F(WrapTest, LimitsWhatIsAnswered) {
    const std::string largest(4096 + 2 * 5, 'c');
    answering("ok {id} 4106\\n" + largest);
    ASSERT_TRUE(wrap());
    answering("ok {id} 4107\\n" + largest + "c");
    EXPECT_TRUE(fails(status(wrap()), Code::protocol, "longer than its request allows"));
    answering("ok {id} 0\\n");
    EXPECT_TRUE(fails(status(wrap()), Code::protocol, "empty"));
    answering("ok {id} 6\\n123456");
    EXPECT_TRUE(fails(status(unwrap()), Code::protocol, "longer than its request allows"));
    EXPECT_FALSE(agent.running());
}

TEST_F(WrapTest, HandOnTheAgentsErrors) {
    for (const char* code : {"not-found", "denied", "wrong-key", "corrupt", "disabled",
                             "unsupported", "unavailable", "failed"}) {
        answering("error {id} 3 " + std::string(code) + "\\nwhy");
        EXPECT_TRUE(fails(status(wrap()), *wire::error_code(code), "why"));
        answering("error {id} 3 " + std::string(code) + "\\nwhy");
        EXPECT_TRUE(fails(status(unwrap()), *wire::error_code(code), "why"));
        EXPECT_TRUE(agent.running());
    }
    answering("error {id} 3 invalid\\nwhy");
    EXPECT_TRUE(fails(status(wrap()), Code::invalid, "why"));
    answering("error {id} 3 invalid\\nwhy");
    EXPECT_TRUE(fails(status(unwrap()), Code::malformed, "why"));
}

TEST_F(WrapTest, AreNotAskedOfAnAgentThatDoesNotOfferThem) {
    ASSERT_TRUE(start(faulty("offer", {"get encrypt decrypt", ""})));
    EXPECT_TRUE(fails(status(wrap()), Code::unsupported, "does not offer wrap"));
    EXPECT_TRUE(fails(status(unwrap()), Code::unsupported, "does not offer unwrap"));
    ASSERT_TRUE(start(faulty("offer", {"wrap unwrap", "max-body=4\\n"})));
    EXPECT_TRUE(fails(status(wrap()), Code::too_large, "at most 4 bytes"));
    EXPECT_TRUE(agent.running());
}

TEST_F(KeysTest, WhatRestrictsAKeyIsAskedOnlyOfAnAgentThatOffersIt) {
    const ByteView key = bytes_of(id);
    const KeyWish wraps = {.purpose = wire::Purpose::wrap, .exportable = false};
    const KeyWish stays = {.exportable = false};
    ASSERT_TRUE(start(faulty("offer", {"create rotate", ""})));
    const auto refused = [&](const KeyWish& wish) {
        const auto made = create_key(line(), key, wish);
        return made ? Status() : Status(made.error());
    };
    EXPECT_TRUE(fails(refused(wraps), Code::unsupported, "does not offer purpose"));
    EXPECT_TRUE(fails(refused(stays), Code::unsupported, "does not offer no-export"));
    EXPECT_TRUE(agent.running());
}

TEST_F(KeysTest, ReadsWhatAKeyIsFor) {
    const auto described = [&](const std::string& more) {
        answering("ok {id} 0 4 aes-256-siv 0001020304050607" + more + "\\n");
        return describe_key(line(), bytes_of(id))->uses;
    };
    EXPECT_EQ(described("").purpose, "");
    EXPECT_EQ(described("").exportable, std::nullopt);
    EXPECT_EQ(described(" wrap no-export").purpose, "wrap");
    EXPECT_EQ(described(" wrap no-export").exportable, false);
    EXPECT_EQ(described(" seal exportable later").exportable, true);
    EXPECT_EQ(described(" mac whatever").purpose, "mac");
    EXPECT_EQ(described(" mac whatever").exportable, std::nullopt);
}

TEST_F(KeysTest, ReadsDescriptions) {
    answering("ok {id} 0 4 aes-256-siv 0001020304050607\\n");
    const auto described = describe_key(line(), bytes_of(id));
    ASSERT_TRUE(described);
    EXPECT_EQ(described->version, 4u);
    EXPECT_EQ(described->algorithm, Algorithm::aes_256_siv);
    EXPECT_EQ(described->tag, listed_tag);
    for (const char* words : {"", " 1", " 1 aes-256-siv", " 1 aes-256-siv x",
                              " 0 aes-256-siv "
                              "0001020304050607"}) {
        answering(std::string("ok {id} 0") + words + "\\n");
        const auto refused = rotate_key(line(), bytes_of(id), 0);
        ASSERT_FALSE(refused) << words;
        EXPECT_EQ(refused.error().code, Code::protocol) << words;
    }
    answering("ok {id} 1 4 aes-256-siv 0001020304050607\\nx");
    EXPECT_FALSE(create_key(line(), bytes_of(id), siv));
}

TEST_F(KeysTest, BelievesOnlyThatItWasImportedAsItIs) {
    answering("ok {id} 0 7 aes-256-siv 0001020304050607\\n");
    EXPECT_TRUE(import_version(line(), imported, {}));
    for (const char* words : {"8 aes-256-siv 0001020304050607", "7 aes-256-gcm 0001020304050607",
                              "7 aes-256-siv 0001020304050608", "7 aes-256-siv"}) {
        answering("ok {id} 0 " + std::string(words) + "\\n");
        EXPECT_TRUE(fails(import_version(line(), imported, {}), Code::protocol, "")) << words;
    }
}

TEST_F(KeysTest, ReadsLists) {
    std::string body;
    wire::append_listed(body, {"a", 1, "x", listed_tag, wire::VersionState::enabled, 0});
    wire::append_listed(body, {"b c", 2, "x", listed_tag, wire::VersionState::disabled, 1});
    const std::string length = std::to_string(body.size());
    std::string escaped = body;
    for (std::size_t at = 0; (at = escaped.find('\n', at)) != std::string::npos; at += 2) {
        escaped.replace(at, 1, "\\n");
    }
    answering("ok {id} " + length + " 2\\n" + escaped);
    const auto listed = list_keys(line(), {});
    ASSERT_TRUE(listed);
    ASSERT_EQ(listed->size(), 2u);
    EXPECT_EQ((*listed)[1].key, "b c");
    for (const char* count : {" 1", " 3", "", " x"}) {
        answering("ok {id} " + length + count + "\\n" + escaped);
        EXPECT_FALSE(list_keys(line(), {})) << count;
    }
    answering("ok {id} 0 0\\n");
    EXPECT_TRUE(list_keys(line(), bytes_of("nothing")));
    answering("ok {id} 16777217 0\\n");
    EXPECT_FALSE(list_keys(line(), {}));
}

// The first line would decide which rows are counted, or which state a version is in.
TEST_F(KeysTest, BelievesNoListThatHasAVersionTwice) {
    constexpr KeyTag other_tag{7, 6, 5, 4, 3, 2, 1, 0};
    const wire::ListedVersion first{"k", 1, "x", listed_tag, wire::VersionState::enabled, 0};
    const auto lists = [&](std::string key, std::uint32_t version, const KeyTag& tag) {
        std::string body;
        wire::append_listed(body, first);
        wire::append_listed(body,
                            {std::move(key), version, "x", tag, wire::VersionState::disabled, 0});
        const std::string length = std::to_string(body.size());
        for (std::size_t at = 0; (at = body.find('\n', at)) != std::string::npos; at += 2) {
            body.replace(at, 1, "\\n");
        }
        answering("ok {id} " + length + " 2\\n" + body);
        return static_cast<bool>(list_keys(line(), {}));
    };
    EXPECT_TRUE(lists("k", 2, other_tag));
    EXPECT_TRUE(lists("kk", 1, listed_tag));
    EXPECT_FALSE(lists("k", 1, other_tag));
    EXPECT_FALSE(lists("k", 2, listed_tag));
}

TEST_F(KeysTest, ChangesVersions) {
    answering("ok {id} 0\\n");
    EXPECT_TRUE(change_version(line(), wire::verb::disable, bytes_of(id), 1));
    EXPECT_TRUE(fails(change_version(line(), wire::verb::destroy, bytes_of(id), 1),
                      Code::unsupported, "does not offer destroy"));
    answering("error {id} 0 disabled\\n");
    EXPECT_TRUE(
        fails(change_version(line(), wire::verb::disable, bytes_of(id), 1), Code::disabled));
    answering("ok {id} 1\\nx");
    EXPECT_TRUE(
        fails(change_version(line(), wire::verb::disable, bytes_of(id), 1), Code::protocol));
}

}  // namespace
}  // namespace kms::test
