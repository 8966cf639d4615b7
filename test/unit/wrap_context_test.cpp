// The contexts of wrapped keys and secrets, against the bytes that doc/formats.md gives.
#include "crypto/wrap_context.hpp"

#include <gtest/gtest.h>

#include <set>

#include "crypto/sealed.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

std::string bytes(std::string_view text) {
    return std::string(text);
}

TEST(WrapContext, OfADataKey) {
    using namespace std::string_view_literals;
    EXPECT_EQ(data_key_context("xaes-256-gcm", 1, bytes_of("orders")),
              bytes("kms/1 data key\0xaes-256-gcm\0\0\0\0\0\0\0\0\1orders"sv));
    EXPECT_EQ(data_key_context("aes-256-siv", 0x0102030405060708, bytes_of("a\0\xff"sv)),
              bytes("kms/1 data key\0aes-256-siv\0\1\2\3\4\5\6\7\x08"
                    "a\0\xff"sv));
    EXPECT_EQ(data_key_context("aes-128-gcm", 2147483647, {}),
              bytes("kms/1 data key\0aes-128-gcm\0\0\0\0\0\x7f\xff\xff\xff"sv));
}

TEST(WrapContext, OfASecret) {
    using namespace std::string_view_literals;
    EXPECT_EQ(secret_context({}), bytes("kms/1 secret\0"sv));
    EXPECT_EQ(secret_context(bytes_of("a\0b"sv)), bytes("kms/1 secret\0a\0b"sv));
}

TEST(WrapContext, AreAllDifferent) {
    std::set<std::string> contexts;
    std::size_t made = 0;
    for (const char* algorithm : {"xaes-256-gcm", "aes-256-gcm"}) {
        for (const std::uint64_t version : {1, 2, 256}) {
            for (const char* name : {"a", "b", "aa", "1"}) {
                contexts.insert(data_key_context(algorithm, version, bytes_of(name)));
                ++made;
            }
        }
    }
    // A user's context that looks like what stands in a data key's.
    for (const char* context : {"", "a", "kms/1 data key"}) {
        contexts.insert(secret_context(bytes_of(context)));
        ++made;
    }
    contexts.insert(secret_context(bytes_of(data_key_context("aes-256-gcm", 1, bytes_of("a")))));
    EXPECT_EQ(contexts.size(), made + 1);
}

// Wrapped keys and secrets that test/sealed.py has made.
TEST(Wrapped, AgreesWithTheVectors) {
    std::size_t data_keys = 0;
    const auto vectors = test::carried_vectors("wrapped.json");
    for (const test::Json& vector : vectors) {
        const std::string algorithm = vector["algorithm"];
        const auto secret = test::unhex(vector, "secret");
        const auto wrapped = test::unhex(vector, "wrapped");
        auto kek = SealingKey::wrapping_from_data_key(*algorithm_named(algorithm),
                                                      test::unhex(vector, "kek"));
        ASSERT_TRUE(kek);
        const bool of_data_key = vector.contains("version");
        const std::string context = of_data_key ? data_key_context(algorithm, vector["version"],
                                                                   test::unhex(vector, "name"))
                                                : secret_context(test::unhex(vector, "context"));
        std::vector<Byte> opened(secret.size());
        ASSERT_TRUE(kek->open(wrapped, bytes_of(context), opened)) << algorithm;
        EXPECT_EQ(opened, secret);
        data_keys += of_data_key;
    }
    EXPECT_EQ(data_keys, sealing_algorithms().size());
    EXPECT_EQ(vectors.size(), 2 * data_keys);
}

}  // namespace
}  // namespace kms
