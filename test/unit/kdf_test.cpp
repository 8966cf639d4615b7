#include "crypto/kdf.hpp"

#include <openssl/hmac.h>

#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

std::string hkdf(const std::string& key, const std::string& salt, const std::string& info,
                 std::size_t size) {
    std::vector<Byte> out(size);
    EXPECT_TRUE(hkdf_sha256(test::unhex(key), test::unhex(salt), test::unhex(info), out));
    return to_hex(out);
}

std::string scrypt_text(std::string_view passphrase, std::string_view salt, ScryptCost cost) {
    std::vector<Byte> out(64);
    EXPECT_TRUE(scrypt(bytes_of(passphrase), bytes_of(salt), cost, out));
    return to_hex(out);
}

TEST(Hkdf, Rfc5869) {
    EXPECT_EQ(
        hkdf("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
             "f0f1f2f3f4f5f6f7f8f9", 42),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    EXPECT_EQ(
        hkdf("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "", 42),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(Hkdf, Wycheproof) {
    const auto path = test::public_vectors("hkdf_sha256_test.json");
    if (!path) {
        GTEST_SKIP() << "KMS_VECTORS is not set";
    }
    test::for_each_wycheproof(*path, [](const test::Json&, const test::Json& vector) {
        std::vector<Byte> out(vector["size"].get<std::size_t>());
        const Status derived = hkdf_sha256(test::unhex(vector, "ikm"), test::unhex(vector, "salt"),
                                           test::unhex(vector, "info"), out);
        EXPECT_EQ(static_cast<bool>(derived), vector["result"] == "valid");
        if (derived) {
            EXPECT_EQ(to_hex(out), vector["okm"]);
        }
    });
}

TEST(Hkdf, RefusesWhatItCannotDerive) {
    std::vector<Byte> most(255 * 32);
    std::vector<Byte> more(255 * 32 + 1);
    const auto key = test::pattern(32);
    EXPECT_TRUE(hkdf_sha256(key, {}, most));
    EXPECT_CODE(hkdf_sha256(key, {}, more), Code::invalid);
    EXPECT_CODE(hkdf_sha256(key, {}, {}), Code::invalid);
    EXPECT_CODE(hkdf_sha256({}, {}, most), Code::invalid);
}

// RFC 5869's extract is the HMAC of the input under the salt.
std::vector<Byte> extract_sha512(ByteView salt, ByteView input) {
    std::vector<Byte> key(64);
    EXPECT_NE(HMAC(EVP_sha512(), salt.data(), static_cast<int>(salt.size()), input.data(),
                   input.size(), key.data(), nullptr),
              nullptr);
    return key;
}

TEST(HkdfExpandSha512, Wycheproof) {
    const auto path = test::public_vectors("hkdf_sha512_test.json");
    if (!path) {
        GTEST_SKIP() << "KMS_VECTORS is not set";
    }
    test::for_each_wycheproof(*path, [](const test::Json&, const test::Json& vector) {
        std::vector<Byte> out(vector["size"].get<std::size_t>());
        const auto key = extract_sha512(test::unhex(vector, "salt"), test::unhex(vector, "ikm"));
        const Status derived = hkdf_expand_sha512(key, test::unhex(vector, "info"), out);
        EXPECT_EQ(static_cast<bool>(derived), vector["result"] == "valid");
        if (derived) {
            EXPECT_EQ(to_hex(out), vector["okm"]);
        }
    });
}

TEST(HkdfExpandSha512, RefusesWhatItCannotDerive) {
    std::vector<Byte> most(255 * 64);
    std::vector<Byte> more(255 * 64 + 1);
    const auto key = test::pattern(32);
    EXPECT_TRUE(hkdf_expand_sha512(key, {}, most));
    EXPECT_CODE(hkdf_expand_sha512(key, {}, more), Code::invalid);
    EXPECT_CODE(hkdf_expand_sha512(key, {}, {}), Code::invalid);
    EXPECT_CODE(hkdf_expand_sha512({}, {}, most), Code::invalid);
}

TEST(Subkey, InfoIsLabelSpaceAlgorithm) {
    const auto key = test::pattern(32);
    std::vector<Byte> subkey(32);
    std::vector<Byte> expected(32);
    ASSERT_TRUE(derive_subkey(key, "kms/1 seal", "xaes-256-gcm", subkey));
    ASSERT_TRUE(hkdf_sha256(key, bytes_of("kms/1 seal xaes-256-gcm"), expected));
    EXPECT_EQ(subkey, expected);
}

// RFC 7914, 12.
TEST(Scrypt, Rfc7914) {
    EXPECT_EQ(scrypt_text("", "", {.log2_n = 4, .r = 1, .p = 1}),
              "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
              "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906");
    EXPECT_EQ(scrypt_text("password", "NaCl", {.log2_n = 10, .r = 8, .p = 16}),
              "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
              "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640");
    EXPECT_EQ(scrypt_text("pleaseletmein", "SodiumChloride", {.log2_n = 14, .r = 8, .p = 1}),
              "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
              "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887");
}

TEST(Scrypt, WorksBeyondTheMemoryThatOpenSslAllowsByItself) {
    std::vector<Byte> out(32);
    EXPECT_TRUE(scrypt(bytes_of("passphrase"), test::pattern(32), {.log2_n = 15}, out));
}

TEST(Scrypt, RefusesImpossibleCosts) {
    std::vector<Byte> out(32);
    for (const ScryptCost cost :
         {ScryptCost{.log2_n = 0}, ScryptCost{.log2_n = 31}, ScryptCost{.log2_n = 64},
          ScryptCost{.log2_n = 4, .r = 0}, ScryptCost{.log2_n = 4, .p = 0}}) {
        EXPECT_FALSE(scrypt(bytes_of("x"), bytes_of("y"), cost, out));
    }
    EXPECT_CODE(scrypt(bytes_of("x"), bytes_of("y"), {}, {}), Code::invalid);
}

TEST(Scrypt, AFileMayAskForNoMoreThanTheFormatSays) {
    EXPECT_TRUE(acceptable({}));
    EXPECT_TRUE(acceptable({.log2_n = 15, .r = 8, .p = 4}));
    EXPECT_TRUE(acceptable({.log2_n = 20, .r = 8, .p = 1}));
    for (const ScryptCost cost :
         {ScryptCost{.log2_n = 14}, ScryptCost{.log2_n = 21}, ScryptCost{.log2_n = 17, .r = 7},
          ScryptCost{.log2_n = 17, .r = 9}, ScryptCost{.log2_n = 17, .r = 8, .p = 0},
          ScryptCost{.log2_n = 17, .r = 8, .p = 5}}) {
        EXPECT_FALSE(acceptable(cost));
    }
}

}  // namespace
}  // namespace kms
