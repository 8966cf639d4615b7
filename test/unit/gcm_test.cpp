#include "crypto/gcm.hpp"

#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using enum GcmKey::Direction;

GcmKey key_for(GcmKey::Direction direction, ByteView key) {
    auto made = GcmKey::create(direction, key);
    EXPECT_TRUE(made);
    return std::move(*made);
}

void check_vector(const test::Json& vector) {
    const auto key = test::unhex(vector, "key");
    const auto nonce = test::unhex(vector, "iv");
    const auto data = test::unhex(vector, "aad");
    const auto plaintext = test::unhex(vector, "msg");
    const auto sealed = test::joined(test::unhex(vector, "ct"), test::unhex(vector, "tag"));
    const bool valid = vector["result"] == "valid";
    std::vector<Byte> out(plaintext.size(), 0xEE);
    GcmKey opening = key_for(open, key);
    ASSERT_EQ(static_cast<bool>(opening.open(nonce, {data, {}}, sealed, out)), valid);
    if (!valid) {
        EXPECT_TRUE(test::all_zero(out));
        return;
    }
    EXPECT_EQ(out, plaintext);
    GcmKey sealing = key_for(seal, key);
    std::vector<Byte> again(sealed.size());
    ASSERT_TRUE(sealing.seal(nonce, {data, {}}, plaintext, again));
    EXPECT_EQ(again, sealed);
}

// The Galois/Counter Mode of Operation (McGrew and Viega), appendix B.
TEST(Gcm, PublishedCases) {
    for (const test::Json& vector : test::carried_vectors("gcm.json")) {
        check_vector(vector);
    }
}

TEST(Gcm, Wycheproof) {
    const auto path = test::public_vectors("aes_gcm_test.json");
    if (!path) {
        GTEST_SKIP() << "KMS_VECTORS is not set";
    }
    test::for_each_wycheproof(*path, [](const test::Json& group, const test::Json& vector) {
        if (group["ivSize"] == 96 && group["tagSize"] == 128) {
            check_vector(vector);
        }
    });
}

TEST(Gcm, AdditionalDataIsOneStringHoweverItIsCut) {
    const auto data = test::pattern(40);
    const auto nonce = test::pattern(12);
    const auto plaintext = test::pattern(33);
    GcmKey key = key_for(seal, test::pattern(32));
    std::vector<Byte> whole(plaintext.size() + 16);
    ASSERT_TRUE(key.seal(nonce, {data, {}}, plaintext, whole));
    for (std::size_t cut = 0; cut <= data.size(); ++cut) {
        const AdditionalData parts{ByteView(data).first(cut), ByteView(data).subspan(cut)};
        std::vector<Byte> sealed(whole.size());
        ASSERT_TRUE(key.seal(nonce, parts, plaintext, sealed));
        EXPECT_EQ(sealed, whole) << cut;
    }
}

TEST(Gcm, AFailedOpenLeavesTheKeyUsable) {
    const auto nonce = test::pattern(12);
    const auto plaintext = test::pattern(100);
    std::vector<Byte> sealed(116);
    ASSERT_TRUE(key_for(seal, test::pattern(32)).seal(nonce, {}, plaintext, sealed));
    GcmKey key = key_for(open, test::pattern(32));
    std::vector<Byte> out(100);
    for (int turn = 0; turn < 3; ++turn) {
        sealed[5] ^= 1;
        EXPECT_CODE(key.open(nonce, {}, sealed, out), Code::corrupt);
        EXPECT_TRUE(test::all_zero(out));
        sealed[5] ^= 1;
        ASSERT_TRUE(key.open(nonce, {}, sealed, out));
        EXPECT_EQ(out, plaintext);
    }
}

TEST(Gcm, SetKeyReplacesTheKey) {
    const auto nonce = test::pattern(12);
    const auto plaintext = test::pattern(20);
    std::vector<Byte> expected(36);
    std::vector<Byte> sealed(36);
    ASSERT_TRUE(key_for(seal, test::pattern(32, 9)).seal(nonce, {}, plaintext, expected));
    GcmKey key = key_for(seal, test::pattern(32, 1));
    ASSERT_TRUE(key.set_key(test::pattern(32, 9)));
    ASSERT_TRUE(key.seal(nonce, {}, plaintext, sealed));
    EXPECT_EQ(sealed, expected);
    EXPECT_CODE(key.set_key(test::pattern(16)), Code::invalid);
}

TEST(Gcm, WithoutAKeyNothingWorks) {
    GcmKey key;
    std::vector<Byte> out(16);
    key.wipe();
    EXPECT_FALSE(key);
    EXPECT_CODE(key.seal(test::pattern(12), {}, {}, out), Code::invalid);
    EXPECT_CODE(key.open(test::pattern(12), {}, out, {}), Code::invalid);
    EXPECT_CODE(key.set_key(test::pattern(32)), Code::invalid);
}

TEST(Gcm, RefusesWrongSizes) {
    for (const std::size_t bytes : {0, 1, 8, 15, 17, 31, 33, 64}) {
        EXPECT_CODE(GcmKey::create(seal, test::pattern(bytes)), Code::invalid);
    }
    GcmKey sealing = key_for(seal, test::pattern(16));
    GcmKey opening = key_for(open, test::pattern(16));
    const auto nonce = test::pattern(12);
    std::vector<Byte> out(20);
    for (const std::size_t wrong : {0, 11, 13}) {
        EXPECT_CODE(sealing.seal(test::pattern(wrong), {}, test::pattern(4), out), Code::invalid);
    }
    EXPECT_CODE(sealing.seal(nonce, {}, test::pattern(5), out), Code::invalid);
    EXPECT_CODE(sealing.open(nonce, {}, out, ByteSpan(out).first(4)), Code::invalid);
    EXPECT_CODE(opening.seal(nonce, {}, test::pattern(4), out), Code::invalid);
    EXPECT_CODE(opening.open(nonce, {}, ByteView(out).first(15), {}), Code::invalid);
    EXPECT_CODE(opening.open(nonce, {}, out, out), Code::invalid);
}

}  // namespace
}  // namespace kms
