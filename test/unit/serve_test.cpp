#include "conversation.hpp"

namespace kms::agent {
namespace {

TEST(Serve, TheHandshakeNamesWhatIsOffered) {
    KeyringStore store;
    const auto greeting = parse(converse(store, "hello 0 11 kms/9 kms/1\nrole=a%20b\n").output);
    ASSERT_EQ(greeting.size(), 1u);
    const std::vector<std::string> words = {
        "kms/1", "identify", "ping",       "describe", "get",       "encrypt", "decrypt",
        "wrap",  "unwrap",   "encrypt-as", "mac",      "create",    "import",  "rotate",
        "list",  "enable",   "disable",    "destroy",  "no-export", "purpose", "after"};
    EXPECT_EQ(greeting[0].words, words);
    EXPECT_EQ(greeting[0].body, "agent=kms-agent/" KMS_VERSION "\nmax-body=1073741824\n");
}

TEST(Serve, AnotherVersionIsRefused) {
    KeyringStore store;
    for (const char* words : {"", " kms/2", " kms/11", " KMS/1"}) {
        const Conversation talk = converse(store, "hello 0 0" + std::string(words) + "\n");
        EXPECT_EQ(parse(talk.output).at(0).verb, "unsupported") << words;
    }
    EXPECT_EQ(parse(converse(store, "hello 0 5 kms/1\nnoise").output).at(0).verb, "invalid");
}

TEST(Serve, NothingIsServedAfterARefusedHello) {
    KeyringStore store;
    for (const char* refused : {"hello 0 0 kms/9\n", "hello 0 5 kms/1\nnoise"}) {
        const Conversation talk =
            converse(store, std::string(refused) + "create 1 0 a xaes-256-gcm\n");
        EXPECT_EQ(talk.status.error().code, Code::protocol);
        EXPECT_EQ(parse(talk.output).size(), 1u);
    }
    EXPECT_EQ(ask(store, "describe", "a").verb, "not-found");
}

TEST(Serve, ARefusedIdentityIsNotTheOneBefore) {
    KeyringStore store;
    const auto answers =
        parse(replies(store,
                      "identify 1 5\nnoise"
                      "create 2 0 a xaes-256-gcm\nping 3 0\nidentify 4 0\nping 5 0\n"));
    const char* expected[] = {"invalid", "denied", "denied", "ok", "ok"};
    ASSERT_EQ(answers.size(), 5u);
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(answers[i].verb, expected[i]) << i;
    }
    EXPECT_EQ(ask(store, "describe", "a").verb, "not-found");
}

TEST(Serve, OnlyTheVerbsThatAreNamedAreOffered) {
    KeyringStore store;
    ASSERT_EQ(ask(store, "create", "a xaes-256-gcm purpose=wrap").verb, "ok");
    const OfferedVerbs few({"wrap", "rotate"});
    const auto answers = parse(
        converse(
            store,
            std::string(hello) +
                "get 1 0 a\nwrap 2 1 a 0\nxcreate 3 0 b xaes-256-gcm\nping 4 0\nrotate 5 0 a\n",
            few)
            .output);
    ASSERT_EQ(answers.size(), 6u);
    const std::vector<std::string> words = {"kms/1", "identify", "ping", "wrap", "rotate", "after"};
    EXPECT_EQ(answers[0].words, words);
    const char* expected[] = {"ok", "unsupported", "ok", "unsupported", "ok", "ok"};
    for (std::size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(answers[i].verb, expected[i]) << i;
    }
    EXPECT_EQ(ask(store, "describe", "b").verb, "not-found");
}

TEST(Serve, BreakingTheProtocolEndsTheSession) {
    KeyringStore store;
    for (const char* input :
         {"ping 1 0\n", "hello 1 0 kms/1\n", "ping 0 0\n", "HELLO 0 0 kms/1\n"}) {
        EXPECT_EQ(converse(store, input).status.error().code, Code::protocol) << input;
    }
    for (const char* input :
         {"hello 0 0 kms/1\n", "hello 1 0 kms/1\n", "ping 0 0\n", "ping 2 0\nping 2 0\n",
          "ping 2 0\nping 1 0\n", "ping 01 0\n", "ping 1 0 \n", "ping 1 1073741825\n", "ping 1\n",
          "ping 9223372036854775808 0\n", "get 1 0 a%6\n", "\n", "nosuch 5 0\nnosuch 5 0\n"}) {
        const Conversation talk = converse(store, std::string(hello) + input);
        EXPECT_EQ(talk.status.error().code, Code::protocol) << input;
        EXPECT_FALSE(talk.output.empty());
    }
}

TEST(Serve, AnInputThatEndsInsideARequestIsAnError) {
    KeyringStore store;
    const std::string input = std::string(hello) + request("encrypt", 1, "a 0", "0123456789");
    for (std::size_t size = 0; size <= input.size(); ++size) {
        const bool whole = size == 0 || size == hello.size() || size == input.size();
        const Conversation talk = converse(store, input.substr(0, size));
        EXPECT_EQ(static_cast<bool>(talk.status), whole) << size;
    }
    EXPECT_FALSE(converse(store, std::string(hello) + "nosuch 1 3\nab").status);
}

TEST(Serve, RepliesToWhatCameBeforeAViolation) {
    KeyringStore store;
    const Conversation talk = converse(store, std::string(hello) + "ping 7 0\nping 7 0\n");
    EXPECT_FALSE(talk.status);
    EXPECT_EQ(parse(talk.output).back().id, 7u);
}

TEST(Serve, AnUnknownVerbEndsNothing) {
    KeyringStore store;
    const std::string body(300000, 'x');
    const auto answers =
        parse(replies(store, request("nosuch", 1, "a b", body) + request("ping", 2, "") +
                                 request("rewrap", 3, "a 0") + request("ping", 4, "more words")));
    ASSERT_EQ(answers.size(), 4u);
    EXPECT_EQ(answers[0].verb, "unsupported");
    EXPECT_EQ(answers[1].verb, "ok");
    EXPECT_EQ(answers[2].verb, "unsupported");
    EXPECT_EQ(answers[3].verb, "ok");
}

TEST(Serve, MissingWordsAndBadNumbersAreInvalid) {
    KeyringStore store;
    ASSERT_EQ(ask(store, "create", "a xaes-256-gcm").verb, "ok");
    for (const char* verb : {"describe", "get", "encrypt", "decrypt", "wrap", "unwrap", "create",
                             "rotate", "enable", "disable", "destroy"}) {
        EXPECT_EQ(ask(store, verb, "").verb, "invalid") << verb;
    }
    for (const char* words : {"a", "a x", "a 01", "a -1", "a 5", "a 99999999999999999999"}) {
        for (const char* verb : {"encrypt", "decrypt", "wrap", "unwrap"}) {
            EXPECT_EQ(ask(store, verb, words, "body").verb, "invalid") << verb << ' ' << words;
        }
    }
    for (const char* words : {"a", "a 0", "a x", "a 2147483648", "a 1x"}) {
        EXPECT_EQ(ask(store, "disable", words).verb, "invalid") << words;
    }
    for (const char* words : {"b", "b aes", "b XAES-256-GCM", "b xaes-256-gcm export"}) {
        EXPECT_EQ(ask(store, "create", words).verb, "invalid") << words;
    }
    for (const char* words : {"a 0011", "a 00112233445566zz", "a 00112233445566AA"}) {
        EXPECT_EQ(ask(store, "get", words).verb, "invalid") << words;
    }
    EXPECT_EQ(ask(store, "identify", "", "noise").verb, "invalid");
    EXPECT_EQ(ask(store, "identify", "", "role=me\n").verb, "ok");
}

TEST(Serve, EncryptsAndDecryptsWithEveryAlgorithm) {
    KeyringStore store;
    for (const AlgorithmInfo& info : sealing_algorithms()) {
        const std::string key(info.name);
        const Answer created = ask(store, "create", key + ' ' + key);
        ASSERT_EQ(created.verb, "ok");
        for (const std::size_t size : {0u, 1u, 32u, 5000u, 700000u}) {
            const std::string plaintext(size, 'p');
            const Answer sealed = ask(store, "encrypt", key + " 3", "ctx" + plaintext);
            ASSERT_EQ(sealed.verb, "ok") << sealed.body;
            EXPECT_EQ(sealed.words, (std::vector<std::string>{"1", created.words.at(2)}));
            const Answer opened = ask(store, "decrypt", key + " 3", "ctx" + sealed.body);
            EXPECT_EQ(opened.verb, "ok");
            EXPECT_EQ(opened.body, plaintext);
            EXPECT_EQ(ask(store, "decrypt", key + " 3", "CTX" + sealed.body).verb, "corrupt");
            EXPECT_EQ(ask(store, "decrypt", key + " 2", "ctx" + sealed.body).verb, "invalid");
        }
    }
}

TEST(Serve, TellsTheWaysOfFailingToDecryptApart) {
    KeyringStore store;
    ASSERT_EQ(ask(store, "create", "a xaes-256-gcm").verb, "ok");
    ASSERT_EQ(ask(store, "create", "b xaes-256-gcm").verb, "ok");
    const std::string sealed = ask(store, "encrypt", "a 0", "secret").body;
    EXPECT_EQ(ask(store, "decrypt", "nosuch 0", sealed).verb, "not-found");
    EXPECT_EQ(ask(store, "decrypt", "b 0", sealed).verb, "wrong-key");
    for (std::size_t i = 0; i < sealed.size(); ++i) {
        std::string changed = sealed;
        changed[i] ^= 1;
        const std::string verb = ask(store, "decrypt", "a 0", changed).verb;
        const char* expected = i == 0 ? "invalid" : i < 9 ? "wrong-key" : "corrupt";
        EXPECT_EQ(verb, expected) << i;
        EXPECT_EQ(ask(store, "decrypt", "a 0", sealed.substr(0, i)).verb,
                  i < 49 ? "invalid" : "corrupt");
    }
    std::string other_suite = sealed;
    other_suite[0] = 3;
    EXPECT_EQ(ask(store, "decrypt", "a 0", other_suite).verb, "wrong-key");
    ASSERT_EQ(ask(store, "disable", "a 1").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", sealed).verb, "disabled");
    EXPECT_EQ(ask(store, "encrypt", "a 0", "more").verb, "disabled");
    ASSERT_EQ(ask(store, "enable", "a 1").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", sealed).body, "secret");
    ASSERT_EQ(ask(store, "destroy", "a 1").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", sealed).verb, "disabled");
    EXPECT_EQ(ask(store, "enable", "a 1").verb, "disabled");
}

TEST(Serve, AVersionThatWasUsedBeforeIsNoShortcut) {
    KeyringStore store;
    ASSERT_EQ(ask(store, "create", "a xaes-256-gcm").verb, "ok");
    ASSERT_EQ(ask(store, "create", "a%20 xaes-256-gcm").verb, "ok");
    const std::string old = ask(store, "encrypt", "a 0", "secret").body;
    EXPECT_EQ(ask(store, "decrypt", "a 0", old).body, "secret");
    EXPECT_EQ(ask(store, "decrypt", "a%20 0", old).verb, "wrong-key");
    EXPECT_EQ(ask(store, "encrypt", "%20 0", "x").verb, "not-found");
    ASSERT_EQ(ask(store, "rotate", "a").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", old).body, "secret");
    const Answer sealed = ask(store, "encrypt", "a 0", "more");
    EXPECT_EQ(sealed.words.at(0), "2");
    ASSERT_EQ(ask(store, "disable", "a 1").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", old).verb, "disabled");
    EXPECT_EQ(ask(store, "decrypt", "a 0", sealed.body).body, "more");
    ASSERT_EQ(ask(store, "disable", "a 2").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", sealed.body).verb, "disabled");
    ASSERT_EQ(ask(store, "enable", "a 1").verb, "ok");
    EXPECT_EQ(ask(store, "decrypt", "a 0", old).body, "secret");
    EXPECT_EQ(ask(store, "encrypt", "a 0", "x").verb, "disabled");
}

TEST(Serve, GetGivesTheCurrentVersionOrTheOneWithATag) {
    KeyringStore store;
    const std::string raw(imported_key);
    const Answer imported = ask(store, "create", "a xaes-256-gcm", raw);
    ASSERT_EQ(imported.verb, "ok");
    const Answer first = ask(store, "get", "a");
    EXPECT_EQ(first.words, imported.words);
    EXPECT_EQ(first.body, raw);
    const Answer second = ask(store, "rotate", "a");
    EXPECT_EQ(second.words.at(0), "2");
    EXPECT_EQ(ask(store, "get", "a").words, second.words);
    std::vector<std::string> described = second.words;
    described.insert(described.end(), {"seal", "exportable"});
    EXPECT_EQ(ask(store, "get", "a " + first.words.at(2)).body, raw);
    EXPECT_EQ(ask(store, "describe", "a").words, described);
    EXPECT_EQ(ask(store, "get", "a 0000000000000000").verb, "wrong-key");
    EXPECT_EQ(ask(store, "get", "b").verb, "not-found");
    ASSERT_EQ(ask(store, "disable", "a 2").verb, "ok");
    EXPECT_EQ(ask(store, "get", "a").verb, "disabled");
    EXPECT_EQ(ask(store, "describe", "a").words, described);
    EXPECT_EQ(ask(store, "get", "a " + first.words.at(2)).body, raw);
}

TEST(Serve, ANoExportKeyStays) {
    KeyringStore store;
    const Answer created = ask(store, "create", "a aes-256-siv no-export");
    ASSERT_EQ(created.verb, "ok");
    EXPECT_EQ(ask(store, "get", "a").verb, "denied");
    EXPECT_EQ(ask(store, "get", "a " + created.words.at(2)).verb, "denied");
    ASSERT_EQ(ask(store, "rotate", "a").verb, "ok");
    EXPECT_EQ(ask(store, "get", "a").verb, "denied");
    const std::string sealed = ask(store, "encrypt", "a 0", "x").body;
    EXPECT_EQ(ask(store, "decrypt", "a 0", sealed).body, "x");
}

TEST(Serve, CreateRefusesWhatDoesNotFit) {
    KeyringStore store;
    const std::string raw(imported_key);
    EXPECT_EQ(ask(store, "create", "a xaes-256-gcm", raw.substr(1)).verb, "invalid");
    EXPECT_EQ(ask(store, "create", "a xaes-256-gcm", raw).verb, "ok");
    EXPECT_EQ(ask(store, "create", "a xaes-256-gcm").verb, "invalid");
    EXPECT_EQ(ask(store, "create", "b xaes-256-gcm", raw).verb, "invalid");
    EXPECT_EQ(ask(store, "rotate", "b").verb, "not-found");
}

TEST(Serve, ListsByPrefixWithEscapes) {
    KeyringStore store;
    for (const char* key : {"app/a", "app/%00%0A%25=,%C3%A9", "other"}) {
        ASSERT_EQ(ask(store, "create", std::string(key) + " xaes-256-gcm").verb, "ok");
    }
    ASSERT_EQ(ask(store, "rotate", "app/a").verb, "ok");
    const Answer all = ask(store, "list", "");
    EXPECT_EQ(all.words.at(0), "4");
    const Answer some = ask(store, "list", "app/%00");
    const auto listed = wire::parse_listed(bytes_of(some.body));
    ASSERT_TRUE(listed);
    ASSERT_EQ(listed->size(), 1u);
    EXPECT_EQ(listed->at(0).key, std::string("app/\0\n%=,\xc3\xa9", 11));
    EXPECT_EQ(ask(store, "list", "zzz").words.at(0), "0");
    EXPECT_EQ(ask(store, "list", "app/").words.at(0), "3");
    EXPECT_EQ(ask(store, "list", "app/ exact").words.at(0), "0");
    EXPECT_EQ(ask(store, "list", "app/a exact").words.at(0), "2");
}

TEST(Serve, ManyKeysAreServedInBoundedMemory) {
    KeyringStore store;
    std::string requests;
    for (std::uint64_t i = 1; i <= 3000; ++i) {
        const std::string key = "k" + std::to_string(i);
        requests += request("create", 2 * i, key + " aes-128-gcm") +
                    request("encrypt", 2 * i + 1, key + " 0", "x");
    }
    const auto answers = parse(replies(store, requests));
    ASSERT_EQ(answers.size(), 6000u);
    for (const Answer& answer : answers) {
        EXPECT_EQ(answer.verb, "ok");
    }
    EXPECT_EQ(ask(store, "decrypt", "k2 0", answers[3].body).body, "x");
}

// A store that offers nothing.
class NothingStore : public KeyStore {
  public:
    std::vector<std::string_view> capabilities() const override { return {}; }
};

TEST(Serve, AStoreOffersWhatItOverrides) {
    NothingStore store;
    EXPECT_EQ(parse(converse(store, hello).output).at(0).words,
              (std::vector<std::string>{"kms/1", "identify", "ping"}));
    EXPECT_EQ(ask(store, "describe", "a").verb, "unsupported");
    EXPECT_EQ(ask(store, "get", "a").verb, "unsupported");
    EXPECT_EQ(ask(store, "encrypt", "a 0").verb, "unsupported");
    EXPECT_EQ(ask(store, "decrypt", "a 0").verb, "unsupported");
    EXPECT_EQ(ask(store, "create", "a xaes-256-gcm").verb, "unsupported");
    EXPECT_EQ(ask(store, "rotate", "a").verb, "unsupported");
    EXPECT_EQ(ask(store, "list", "").verb, "unsupported");
    EXPECT_EQ(ask(store, "destroy", "a 1").verb, "unsupported");
}

// Fails after it was given room for a body.
class HalfStore : public NothingStore {
  public:
    Status encrypt(ByteView, ByteView, ByteView, ReplyBody& reply) override {
        KMS_TRY(reply.allot(1000, nullptr));
        return Error{Code::failed, std::string(9000, 'e')};
    }
    Status decrypt(ByteView, ByteView, ByteView, ReplyBody& reply) override {
        KMS_TRY(reply.allot(wire::max_body_ceiling + 1, nullptr));
        return {};
    }
};

TEST(Serve, AFailedBodyLeavesNothingBehind) {
    HalfStore store;
    const Answer failed = ask(store, "encrypt", "a 0");
    EXPECT_EQ(failed.verb, "failed");
    EXPECT_EQ(failed.body.size(), 1024u);
    EXPECT_EQ(ask(store, "decrypt", "a 0").verb, "invalid");
}

}  // namespace
}  // namespace kms::agent
