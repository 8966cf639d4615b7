#include "crypto/xaes.hpp"

#include <set>

#include "forked.hpp"
#include "xaes_stream.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

XaesKey some_key() {
    auto key = XaesKey::create(test::pattern(32));
    EXPECT_TRUE(key);
    return std::move(*key);
}

// The nonce that sealing a value of `size` bytes drew.
Bytes next_nonce(XaesKey& key, std::size_t size = 1) {
    Bytes nonce(24);
    Bytes sealed(size + 16);
    EXPECT_TRUE(key.seal(nonce, {}, Bytes(size), sealed));
    return nonce;
}

Bytes prefix_of(const Bytes& nonce) {
    return {nonce.begin(), nonce.begin() + xaes_prefix_length};
}

TEST(Xaes, PublishedVectors) {
    for (const test::Json& vector : test::carried_vectors("xaes.json")) {
        auto key = XaesKey::create(test::unhex(vector, "key"));
        ASSERT_TRUE(key);
        const auto nonce = test::unhex(vector, "nonce");
        const auto data = test::unhex(vector, "data");
        const auto plaintext = test::unhex(vector, "plaintext");
        Bytes sealed(plaintext.size() + 16);
        Bytes opened(plaintext.size());
        ASSERT_TRUE(key->seal_with_nonce(nonce, {data, {}}, plaintext, sealed));
        EXPECT_EQ(to_hex(sealed), vector["sealed"]);
        ASSERT_TRUE(key->open(nonce, {data, {}}, sealed, opened));
        EXPECT_EQ(opened, plaintext);
    }
}

TEST(Xaes, TenThousandAccumulated) {
    EXPECT_EQ(test::accumulated(10'000), test::accumulated_10_000);
}

TEST(Xaes, NoncesDifferUnderOnePrefix) {
    XaesKey key = some_key();
    std::set<Bytes> nonces;
    std::set<Bytes> prefixes;
    for (int i = 0; i < 4096; ++i) {
        const Bytes nonce = next_nonce(key);
        nonces.insert(nonce);
        prefixes.insert(prefix_of(nonce));
    }
    EXPECT_EQ(nonces.size(), 4096u);
    EXPECT_EQ(prefixes.size(), 1u);
    EXPECT_FALSE(prefixes.contains(prefix_of(next_nonce(key))));
}

TEST(Xaes, EveryKeyDrawsItsOwnPrefix) {
    std::set<Bytes> prefixes;
    for (int i = 0; i < 50; ++i) {
        XaesKey key = some_key();
        prefixes.insert(prefix_of(next_nonce(key)));
    }
    EXPECT_EQ(prefixes.size(), 50u);
}

TEST(Xaes, OpensValuesOfManyPrefixesInAnyOrder) {
    struct Value {
        Bytes nonce;
        Bytes sealed;
    };
    std::vector<Value> values;
    XaesKey key = some_key();
    for (unsigned i = 0; i < 300; ++i) {
        Value value{test::pattern(24, i * 37), Bytes(20)};
        value.nonce[1] = static_cast<Byte>(i);
        ASSERT_TRUE(key.seal_with_nonce(value.nonce, {}, test::pattern(4, i), value.sealed));
        values.push_back(std::move(value));
    }
    for (unsigned step : {1u, 7u, 64u, 299u}) {
        for (unsigned turn = 0, i = 0; turn < 600; ++turn, i = (i + step) % 300) {
            Bytes out(4);
            ASSERT_TRUE(key.open(values[i].nonce, {}, values[i].sealed, out));
            EXPECT_EQ(out, test::pattern(4, i));
        }
    }
}

TEST(Xaes, AForgeryUnderAPrefixSpoilsNothing) {
    XaesKey key = some_key();
    Bytes nonce(24);
    Bytes sealed(20);
    ASSERT_TRUE(key.seal(nonce, {}, test::pattern(4), sealed));
    Bytes forged_nonce = nonce;
    forged_nonce[5] ^= 1;
    Bytes out(4);
    for (int turn = 0; turn < 3; ++turn) {
        EXPECT_CODE(key.open(forged_nonce, {}, sealed, out), Code::corrupt);
        EXPECT_TRUE(test::all_zero(out));
        ASSERT_TRUE(key.open(nonce, {}, sealed, out));
        EXPECT_EQ(out, test::pattern(4));
    }
}

TEST(Xaes, ChildrenNeverShareAPrefix) {
    XaesKey key = some_key();
    std::set<Bytes> prefixes{prefix_of(next_nonce(key))};
    for (int i = 0; i < 20; ++i) {
        prefixes.insert(prefix_of(test::in_child(24, [&](ByteSpan out) {
            std::ranges::copy(next_nonce(key), out.begin());
            return true;
        })));
    }
    EXPECT_EQ(prefixes.size(), 21u);
    EXPECT_TRUE(prefixes.contains(prefix_of(next_nonce(key))));
}

TEST(Xaes, RefusesWrongSizes) {
    for (const std::size_t bytes : {0, 16, 24, 31, 33, 64}) {
        EXPECT_CODE(XaesKey::create(test::pattern(bytes)), Code::invalid);
    }
    XaesKey key = some_key();
    Bytes out(20);
    for (const std::size_t bytes : {0, 12, 23, 25}) {
        Bytes nonce(bytes);
        EXPECT_CODE(key.seal(nonce, {}, test::pattern(4), out), Code::invalid);
        EXPECT_CODE(key.seal_with_nonce(nonce, {}, test::pattern(4), out), Code::invalid);
        EXPECT_CODE(key.open(nonce, {}, out, ByteSpan(out).first(4)), Code::invalid);
    }
    Bytes nonce(24);
    EXPECT_CODE(key.seal(nonce, {}, test::pattern(5), out), Code::invalid);
    EXPECT_CODE(key.open(nonce, {}, test::pattern(15), {}), Code::invalid);
}

}  // namespace
}  // namespace kms
