#include "crypto/siv.hpp"

#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

SivKey key_of(ByteView bytes) {
    auto key = SivKey::create(bytes);
    EXPECT_TRUE(key);
    return std::move(*key);
}

Bytes sealed_with(SivKey& key, std::span<const ByteView> strings, ByteView plaintext) {
    Bytes sealed(plaintext.size() + 16);
    EXPECT_TRUE(key.seal(strings, plaintext, sealed));
    return sealed;
}

TEST(Siv, PublishedVectors) {
    for (const test::Json& vector : test::carried_vectors("siv.json")) {
        SCOPED_TRACE(vector["source"]);
        std::vector<Bytes> owned;
        for (const std::string text : vector["associated"]) {
            owned.push_back(test::unhex(text));
        }
        const std::vector<ByteView> strings(owned.begin(), owned.end());
        SivKey key = key_of(test::unhex(vector, "key"));
        const Bytes plaintext = test::unhex(vector, "plaintext");
        const Bytes sealed = sealed_with(key, strings, plaintext);
        EXPECT_EQ(to_hex(sealed), vector["sealed"]);
        Bytes opened(plaintext.size());
        ASSERT_TRUE(key.open(strings, sealed, opened));
        EXPECT_EQ(opened, plaintext);
    }
}

TEST(Siv, Wycheproof) {
    const auto path = test::public_vectors("aead_aes_siv_cmac_test.json");
    if (!path) {
        GTEST_SKIP() << "KMS_VECTORS is not set";
    }
    test::for_each_wycheproof(*path, [](const test::Json&, const test::Json& vector) {
        const Bytes data = test::unhex(vector, "aad");
        const Bytes nonce = test::unhex(vector, "iv");
        const Bytes plaintext = test::unhex(vector, "msg");
        const Bytes sealed = test::joined(test::unhex(vector, "tag"), test::unhex(vector, "ct"));
        const ByteView strings[] = {data, nonce};
        SivKey key = key_of(test::unhex(vector, "key"));
        Bytes out(plaintext.size(), 0xEE);
        const bool valid = vector["result"] == "valid";
        ASSERT_EQ(static_cast<bool>(key.open(strings, sealed, out)), valid);
        EXPECT_TRUE(valid ? out == plaintext : test::all_zero(out));
        if (valid) {
            EXPECT_EQ(sealed_with(key, strings, plaintext), sealed);
        }
    });
}

TEST(Siv, OneStringMayComeInTwoParts) {
    const Bytes data = test::pattern(40);
    const Bytes plaintext = test::pattern(20);
    SivKey key = key_of(test::pattern(64));
    const ByteView strings[] = {data};
    const Bytes expected = sealed_with(key, strings, plaintext);
    for (std::size_t cut = 0; cut <= data.size(); ++cut) {
        const AdditionalData parts{ByteView(data).first(cut), ByteView(data).subspan(cut)};
        Bytes sealed(expected.size());
        Bytes opened(plaintext.size());
        ASSERT_TRUE(key.seal(parts, plaintext, sealed));
        EXPECT_EQ(sealed, expected);
        ASSERT_TRUE(key.open(parts, sealed, opened));
        EXPECT_EQ(opened, plaintext);
    }
}

TEST(Siv, StringsAreNotJoined) {
    const Bytes data = test::pattern(40);
    SivKey key = key_of(test::pattern(64));
    const ByteView one[] = {data};
    const ByteView two[] = {ByteView(data).first(16), ByteView(data).subspan(16)};
    const ByteView empty[] = {ByteView()};
    EXPECT_NE(sealed_with(key, one, {}), sealed_with(key, two, {}));
    EXPECT_NE(sealed_with(key, {}, {}), sealed_with(key, empty, {}));
}

TEST(Siv, EverySizeComesBackAndEveryFlippedBitIsSeen) {
    SivKey key = key_of(test::pattern(32));
    const Bytes context = test::pattern(5);
    for (std::size_t size = 0; size <= 50; ++size) {
        const Bytes plaintext = test::pattern(size);
        Bytes sealed(size + 16);
        Bytes out(size);
        ASSERT_TRUE(key.seal({context, {}}, plaintext, sealed));
        for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
            sealed[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
            EXPECT_CODE(key.open({context, {}}, sealed, out), Code::corrupt);
            EXPECT_TRUE(test::all_zero(out));
            sealed[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
        }
        ASSERT_TRUE(key.open({context, {}}, sealed, out));
        EXPECT_EQ(out, plaintext);
    }
}

TEST(Siv, RefusesWrongSizes) {
    for (const std::size_t bytes : {0, 16, 31, 33, 47, 63, 65, 128}) {
        EXPECT_CODE(SivKey::create(test::pattern(bytes)), Code::invalid);
    }
    SivKey key = key_of(test::pattern(64));
    Bytes out(20);
    EXPECT_CODE(key.seal(AdditionalData{}, test::pattern(5), out), Code::invalid);
    EXPECT_CODE(key.open(AdditionalData{}, test::pattern(15), {}), Code::invalid);
    EXPECT_CODE(key.open(AdditionalData{}, test::pattern(20), out), Code::invalid);
}

TEST(Siv, TakesAsManyStringsAsTheRfcAllows) {
    SivKey key = key_of(test::pattern(64));
    const std::vector<ByteView> most(126);
    const std::vector<ByteView> more(127);
    Bytes out(16);
    EXPECT_TRUE(key.seal(most, {}, out));
    EXPECT_CODE(key.seal(more, {}, out), Code::invalid);
    EXPECT_CODE(key.open(more, out, {}), Code::invalid);
}

}  // namespace
}  // namespace kms
