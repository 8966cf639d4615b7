// The verbs mac and encrypt-as of kms-agent.
#include "conversation.hpp"

namespace kms::agent {
namespace {

class Searching : public testing::Test {
  protected:
    Searching() {
        first = ask(store, "create", "index hmac-sha-256").words.at(2);
        second = ask(store, "rotate", "index").words.at(2);
        email = ask(store, "create", "email aes-256-siv").words.at(2);
        current = ask(store, "rotate", "email").words.at(2);
        EXPECT_EQ(ask(store, "create", "values xaes-256-gcm").verb, "ok");
    }

    KeyringStore store;
    std::string first, second;   // tags of the versions of `index`
    std::string email, current;  // and of `email`
};

TEST_F(Searching, MakesTermsUnderTheCurrentVersionOrOneThatIsNamed) {
    const Answer term = ask(store, "mac", "index blind-index/64 3", "ctxdata");
    ASSERT_EQ(term.verb, "ok") << term.body;
    EXPECT_EQ(term.words, (std::vector<std::string>{"2", second}));
    EXPECT_EQ(term.body.size(), full_term_length);
    EXPECT_EQ(ask(store, "mac", "index blind-index/64 " + second + " 3", "ctxdata").body,
              term.body);
    const Answer older = ask(store, "mac", "index blind-index/64 " + first + " 3", "ctxdata");
    EXPECT_EQ(older.words, (std::vector<std::string>{"1", first}));
    EXPECT_NE(older.body, term.body);
    EXPECT_NE(ask(store, "mac", "index blind-index/64 2", "ctxdata").body, term.body);
    EXPECT_NE(ask(store, "mac", "index blind-index/63 3", "ctxdata").body, term.body);
    EXPECT_EQ(ask(store, "mac", "index blind-index/256 0").verb, "ok");
}

TEST_F(Searching, RefusesWhatIsNoTermOrNoKeyForOne) {
    for (const char* use : {"", " blind-index", " blind-index/ 0", " blind-index/0 0",
                            " blind-index/257 0", " blind-index/064 0", " type-term 0"}) {
        EXPECT_EQ(ask(store, "mac", "index" + std::string(use)).verb, "unsupported") << use;
    }
    EXPECT_EQ(ask(store, "mac", "index blind-index/64", "x").verb, "invalid");
    EXPECT_EQ(ask(store, "mac", "index blind-index/64 2", "x").verb, "invalid");
    EXPECT_EQ(ask(store, "mac", "index blind-index/64 " + first, "x").verb, "invalid");
    EXPECT_EQ(ask(store, "mac", "index blind-index/64 " + email + " 0").verb, "wrong-key");
    EXPECT_EQ(ask(store, "mac", "nosuch blind-index/64 0").verb, "not-found");
    EXPECT_EQ(ask(store, "mac", "values blind-index/64 0").verb, "unsupported");
    EXPECT_EQ(ask(store, "mac", "email blind-index/64 0").verb, "unsupported");
    ASSERT_EQ(ask(store, "disable", "index 1").verb, "ok");
    EXPECT_EQ(ask(store, "mac", "index blind-index/64 " + first + " 0").verb, "disabled");
    ASSERT_EQ(ask(store, "destroy", "index 2").verb, "ok");
    EXPECT_EQ(ask(store, "mac", "index blind-index/64 0").verb, "disabled");
}

TEST_F(Searching, KeysForTermsSealAndWrapNothing) {
    EXPECT_EQ(ask(store, "encrypt", "index 0", "x").verb, "unsupported");
    EXPECT_EQ(ask(store, "wrap", "index 14", std::string("kms/1 blob key") + "x").verb, "denied");
    EXPECT_EQ(ask(store, "create", "no hmac-sha-256 purpose=wrap").verb, "invalid");
    const std::string sealed = ask(store, "encrypt", "values 0", "x").body;
    EXPECT_EQ(ask(store, "decrypt", "index 0", sealed).verb, "wrong-key");
    EXPECT_EQ(ask(store, "create", "stays hmac-sha-256 no-export").verb, "ok");
    EXPECT_EQ(ask(store, "get", "stays").verb, "denied");
    EXPECT_EQ(ask(store, "mac", "stays blind-index/64 0").verb, "ok");
}

TEST_F(Searching, EncryptsUnderAnOlderVersionOfADeterministicKey) {
    const Answer now = ask(store, "encrypt", "email 3", "ctxvalue");
    const Answer as_now = ask(store, "encrypt-as", "email " + current + " 3", "ctxvalue");
    EXPECT_EQ(as_now.body, now.body);
    EXPECT_EQ(as_now.words, (std::vector<std::string>{"2", current}));
    const Answer older = ask(store, "encrypt-as", "email " + email + " 3", "ctxvalue");
    ASSERT_EQ(older.verb, "ok");
    EXPECT_EQ(older.words, (std::vector<std::string>{"1", email}));
    EXPECT_EQ(ask(store, "decrypt", "email 3", "ctx" + older.body).body, "value");
    // What was used last is not taken for the current version.
    EXPECT_EQ(ask(store, "encrypt", "email 3", "ctxvalue").body, now.body);
}

TEST_F(Searching, EncryptsUnderNoOtherVersion) {
    const std::string tag = ask(store, "describe", "values").words.at(2);
    EXPECT_EQ(ask(store, "encrypt-as", "values " + tag + " 0", "x").verb, "unsupported");
    EXPECT_EQ(ask(store, "encrypt-as", "index " + first + " 0", "x").verb, "unsupported");
    EXPECT_EQ(ask(store, "encrypt-as", "email " + tag + " 0", "x").verb, "wrong-key");
    EXPECT_EQ(ask(store, "encrypt-as", "nosuch " + tag + " 0", "x").verb, "not-found");
    for (const char* words : {"email", "email 0", "email 0123456789ABCDEF 0"}) {
        EXPECT_EQ(ask(store, "encrypt-as", words, "x").verb, "invalid") << words;
    }
    EXPECT_EQ(ask(store, "encrypt-as", "email " + email + " 2", "x").verb, "invalid");
    ASSERT_EQ(ask(store, "disable", "email 1").verb, "ok");
    EXPECT_EQ(ask(store, "encrypt-as", "email " + email + " 0", "x").verb, "disabled");
}

}  // namespace
}  // namespace kms::agent
