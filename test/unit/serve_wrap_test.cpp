// The verbs wrap and unwrap of kms-agent: what it wraps opens again and under no other
// circumstance.
#include "conversation.hpp"
#include "crypto/blob_keys.hpp"
#include "crypto/wrap_context.hpp"

namespace kms::agent {
namespace {

std::string words(std::string_view key, std::string_view context) {
    return std::string(key) + ' ' + std::to_string(context.size());
}

class Wrapping : public testing::Test {
  protected:
    Wrapping() { EXPECT_EQ(ask(store, "create", "kek xaes-256-gcm purpose=wrap").verb, "ok"); }

    Answer wrap(std::string_view context, std::string_view secret, std::string_view key = "kek") {
        return ask(store, "wrap", words(key, context), std::string(context) + std::string(secret));
    }
    Answer unwrap(std::string_view context, std::string_view wrapped,
                  std::string_view key = "kek") {
        return ask(store, "unwrap", words(key, context),
                   std::string(context) + std::string(wrapped));
    }

    KeyringStore store;
    const std::string data_key = std::string(32, 'd');
    const std::string orders = data_key_context("xaes-256-gcm", 1, bytes_of("orders"));
};

TEST_F(Wrapping, WithKeysOfEveryAlgorithm) {
    for (const AlgorithmInfo& info : sealing_algorithms()) {
        const std::string key(info.name);
        for (const char* no_export : {"", " no-export"}) {
            const std::string kek = key + (*no_export != '\0' ? "-stays" : "");
            const Answer created =
                ask(store, "create", kek + ' ' + key + no_export + " purpose=wrap");
            ASSERT_EQ(created.verb, "ok");
            for (const std::size_t size : {0u, 1u, 16u, 64u, 700000u}) {
                const std::string secret(size, 's');
                const Answer wrapped = wrap("ctx", secret, kek);
                ASSERT_EQ(wrapped.verb, "ok") << wrapped.body;
                EXPECT_EQ(wrapped.words, std::vector<std::string>{"1"});
                EXPECT_EQ(wrapped.body.size(), size + 49);
                EXPECT_EQ(wrapped.body[0], 1);
                const KeyTag tag = *wire::parse_tag(created.words.at(2));
                EXPECT_EQ(wrapped.body.substr(1, 8), text_of(ByteView(tag.data(), tag.size())));
                const Answer unwrapped = unwrap("ctx", wrapped.body, kek);
                EXPECT_EQ(unwrapped.verb, "ok");
                EXPECT_EQ(unwrapped.words, std::vector<std::string>{"1"});
                EXPECT_EQ(unwrapped.body, secret);
            }
        }
    }
}

TEST_F(Wrapping, EveryFlippedBitAndEveryTruncationIsRefused) {
    const std::string wrapped = wrap(orders, data_key).body;
    for (std::size_t bit = 0; bit < 8 * wrapped.size(); ++bit) {
        std::string changed = wrapped;
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
        const Answer refused = unwrap(orders, changed);
        // 0x01 becomes 0x03, which is a suite too.
        const char* expected = bit == 1      ? "wrong-key"
                               : bit < 8     ? "invalid"
                               : bit < 9 * 8 ? "wrong-key"
                                             : "corrupt";
        EXPECT_EQ(refused.verb, expected) << bit;
        EXPECT_EQ(refused.body.find(data_key), std::string::npos);
    }
    for (std::size_t size = 0; size < wrapped.size(); ++size) {
        EXPECT_EQ(unwrap(orders, wrapped.substr(0, size)).verb, size < 49 ? "invalid" : "corrupt");
    }
    EXPECT_EQ(unwrap(orders, wrapped + 'x').verb, "corrupt");
    EXPECT_EQ(unwrap(orders, wrapped).body, data_key);
}

TEST_F(Wrapping, OpensUnderTheSameContextOnly) {
    const std::string wrapped = wrap(orders, data_key).body;
    const ByteView name = bytes_of("orders");
    for (const std::string& other :
         {std::string(), orders + 'x', orders.substr(1), secret_context({}), secret_context(name),
          secret_context(bytes_of(orders)), data_key_context("xaes-256-gcm", 2, name),
          data_key_context("aes-256-gcm", 1, name),
          data_key_context("xaes-256-gcm", 1, bytes_of("order"))}) {
        EXPECT_EQ(unwrap(other, wrapped).verb, "corrupt");
        const std::string of_other = wrap(other, data_key).body;
        EXPECT_EQ(unwrap(orders, of_other).verb, "corrupt");
        EXPECT_EQ(unwrap(other, of_other).body, data_key);
    }
}

TEST_F(Wrapping, WhatIsEncryptedDoesNotUnwrapNorTheOtherWayRound) {
    for (const AlgorithmInfo& info : sealing_algorithms()) {
        const std::string key = "both-" + std::string(info.name);
        ASSERT_EQ(ask(store, "create", key + ' ' + std::string(info.name)).verb, "ok");
        const std::string blob = blob_key_context({7});
        const char* told = info.suite == Suite::xaes_256_gcm ? "corrupt" : "wrong-key";
        const Answer sealed = ask(store, "encrypt", words(key, blob), blob + data_key);
        ASSERT_EQ(sealed.verb, "ok");
        EXPECT_EQ(unwrap(blob, sealed.body, key).verb, told);
        const Answer wrapped = wrap(blob, data_key, key);
        EXPECT_EQ(ask(store, "decrypt", words(key, blob), blob + wrapped.body).verb, told);
        // The version that was used last is not taken for the other use.
        EXPECT_EQ(unwrap(blob, wrapped.body, key).body, data_key);
        EXPECT_EQ(ask(store, "decrypt", words(key, blob), blob + sealed.body).body, data_key);
    }
}

TEST_F(Wrapping, BothUsesTakeTurns) {
    ASSERT_EQ(ask(store, "create", "both xaes-256-gcm").verb, "ok");
    const std::string blob = blob_key_context({7});
    const std::string of_blob = words("both", blob);
    std::string requests;
    for (std::uint64_t i = 0; i < 50; ++i) {
        requests += request("encrypt", 2 * i + 1, "both 0", "x") +
                    request("wrap", 2 * i + 2, of_blob, blob + "y");
    }
    const auto answers = parse(replies(store, requests));
    ASSERT_EQ(answers.size(), 100u);
    requests.clear();
    for (std::uint64_t i = 0; i < 50; ++i) {
        requests += request("unwrap", 2 * i + 1, of_blob, blob + answers[2 * i + 1].body) +
                    request("decrypt", 2 * i + 2, "both 0", answers[2 * i].body);
    }
    const auto opened = parse(replies(store, requests));
    ASSERT_EQ(opened.size(), 100u);
    for (std::size_t i = 0; i < 50; ++i) {
        EXPECT_EQ(opened[2 * i].body, "y");
        EXPECT_EQ(opened[2 * i + 1].body, "x");
    }
}

TEST_F(Wrapping, WrapsByTheCurrentVersionAndUnwrapsByTheOneOfTheTag) {
    const std::string first = wrap("", data_key).body;
    ASSERT_EQ(ask(store, "rotate", "kek").verb, "ok");
    const Answer second = wrap("", data_key);
    EXPECT_EQ(second.words.at(0), "2");
    const Answer by_first = unwrap("", first);
    EXPECT_EQ(by_first.words.at(0), "1");
    EXPECT_EQ(by_first.body, data_key);
    EXPECT_EQ(unwrap("", second.body).words.at(0), "2");
}

TEST_F(Wrapping, TellsTheWaysOfFailingApart) {
    ASSERT_EQ(ask(store, "create", "other xaes-256-gcm purpose=wrap").verb, "ok");
    const std::string first = wrap("", data_key).body;
    EXPECT_EQ(wrap("", data_key, "nosuch").verb, "not-found");
    EXPECT_EQ(unwrap("", first, "nosuch").verb, "not-found");
    EXPECT_EQ(unwrap("", first, "other").verb, "wrong-key");
    ASSERT_EQ(ask(store, "disable", "kek 1").verb, "ok");
    EXPECT_EQ(wrap("", data_key).verb, "disabled");
    EXPECT_EQ(unwrap("", first).verb, "disabled");
    ASSERT_EQ(ask(store, "rotate", "kek").verb, "ok");
    EXPECT_EQ(unwrap("", first).verb, "disabled");
    EXPECT_EQ(unwrap("", wrap("", data_key).body).body, data_key);
    ASSERT_EQ(ask(store, "enable", "kek 1").verb, "ok");
    EXPECT_EQ(unwrap("", first).body, data_key);
    ASSERT_EQ(ask(store, "destroy", "kek 1").verb, "ok");
    EXPECT_EQ(unwrap("", first).verb, "disabled");
    ASSERT_EQ(ask(store, "destroy", "kek 2").verb, "ok");
    EXPECT_EQ(wrap("", data_key).verb, "disabled");
}

TEST_F(Wrapping, AKeyThatWrapsDoesNothingElseAndNeverLeaves) {
    for (const char* words :
         {"w1 xaes-256-gcm purpose=wrap", "w2 aes-256-siv no-export purpose=wrap",
          "w3 aes-128-gcm purpose=wrap no-export"}) {
        const std::string key(words, 2);
        const Answer created = ask(store, "create", words);
        ASSERT_EQ(created.verb, "ok") << words;
        const std::string wrapped = wrap(orders, data_key, key).body;
        EXPECT_EQ(unwrap(orders, wrapped, key).body, data_key);
        EXPECT_EQ(ask(store, "get", key).verb, "denied");
        EXPECT_EQ(ask(store, "get", key + ' ' + created.words.at(2)).verb, "denied");
        EXPECT_EQ(ask(store, "encrypt", key + " 0", "x").verb, "denied");
        EXPECT_EQ(ask(store, "decrypt", key + " 0", wrapped).verb, "denied");
        ASSERT_EQ(ask(store, "rotate", key).verb, "ok");
        EXPECT_EQ(ask(store, "get", key).verb, "denied");
        EXPECT_EQ(ask(store, "encrypt", key + " 0", "x").verb, "denied");
        const Answer described = ask(store, "describe", key);
        EXPECT_EQ(described.words.at(3), "wrap");
        EXPECT_EQ(described.words.at(4), "no-export");
    }
}

TEST_F(Wrapping, AWishThatIsSaidTwiceIsRefused) {
    for (const std::string words :
         {"purpose=seal purpose=wrap", "purpose=wrap purpose=seal", "purpose=wrap purpose=wrap",
          "after=3 after=9", "no-export purpose=seal no-export",
          "purpose=seal after=1 purpose=x"}) {
        EXPECT_EQ(ask(store, "create", "twice xaes-256-gcm " + words).verb, "invalid") << words;
        EXPECT_EQ(ask(store, "describe", "twice").verb, "not-found") << words;
    }
    EXPECT_EQ(ask(store, "rotate", "kek after=3 after=9").verb, "invalid");
    EXPECT_EQ(ask(store, "describe", "kek").words.at(0), "1");
}

TEST_F(Wrapping, AKeyThatSealsWrapsTheKeysOfBlobsAlone) {
    const std::string blob = blob_key_context({1, 2, 3});
    ASSERT_EQ(ask(store, "create", "leaves xaes-256-gcm purpose=seal").verb, "ok");
    ASSERT_EQ(ask(store, "create", "stays xaes-256-gcm no-export").verb, "ok");
    for (const std::string key : {"leaves", "stays"}) {
        const std::string wrapped = wrap(blob, data_key, key).body;
        EXPECT_EQ(unwrap(blob, wrapped, key).body, data_key);
        // The version that was used last is not taken for what it must not do.
        for (const std::string& context :
             {orders, secret_context(bytes_of("x")), std::string(), std::string("kms/1 blob key"),
              blob + "x", blob.substr(0, blob.size() - 1), "x" + blob.substr(1)}) {
            EXPECT_EQ(wrap(context, data_key, key).verb, "denied") << context;
            EXPECT_EQ(unwrap(context, wrapped, key).verb, "denied") << context;
        }
        EXPECT_EQ(ask(store, "get", key).verb, key == "leaves" ? "ok" : "denied");
        const Answer described = ask(store, "describe", key);
        EXPECT_EQ(described.words.at(3), "seal");
        EXPECT_EQ(described.words.at(4), key == "leaves" ? "exportable" : "no-export");
    }
}

TEST_F(Wrapping, ManyKeysAreServedInBoundedMemory) {
    const std::string blob = blob_key_context({7});
    std::string requests;
    for (std::uint64_t i = 1; i <= 1500; ++i) {
        const std::string key = "k" + std::to_string(i);
        requests += request("create", 3 * i, key + " aes-128-gcm") +
                    request("wrap", 3 * i + 1, words(key, blob), blob + data_key) +
                    request("encrypt", 3 * i + 2, key + " 0", "x");
    }
    const auto answers = parse(replies(store, requests));
    ASSERT_EQ(answers.size(), 4500u);
    for (const Answer& answer : answers) {
        EXPECT_EQ(answer.verb, "ok");
    }
    EXPECT_EQ(unwrap(blob, answers[1].body, "k1").body, data_key);
}

}  // namespace
}  // namespace kms::agent
