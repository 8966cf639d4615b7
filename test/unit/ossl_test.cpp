#include "crypto/ossl.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>

namespace {

std::atomic<bool> nothing_to_fetch{false};

}  // namespace

// In place of OpenSSL's own, for the whole program.
extern "C" EVP_CIPHER* EVP_CIPHER_fetch(OSSL_LIB_CTX* library, const char* name,
                                        const char* properties) {
    using Fetch = EVP_CIPHER* (*)(OSSL_LIB_CTX*, const char*, const char*);
    static const auto fetch = reinterpret_cast<Fetch>(dlsym(RTLD_NEXT, "EVP_CIPHER_fetch"));
    return nothing_to_fetch ? nullptr : fetch(library, name, properties);
}

namespace kms {
namespace {

constexpr std::array<Byte, 32> key{};

bool makes_contexts() {
    for (const ossl::Mode mode : {ossl::Mode::ecb, ossl::Mode::ctr, ossl::Mode::gcm}) {
        for (const std::size_t length : {16, 24, 32}) {
            if (!ossl::aes(mode, ossl::Direction::encrypt, ByteView(key).first(length))) {
                return false;
            }
        }
    }
    return true;
}

TEST(OsslTest, TakesKeysOfAesOnly) {
    for (const std::size_t length : {0, 1, 15, 17, 31}) {
        const auto made =
            ossl::aes(ossl::Mode::ecb, ossl::Direction::encrypt, ByteView(key).first(length));
        ASSERT_FALSE(made);
        EXPECT_EQ(made.error().code, Code::invalid);
    }
    EXPECT_TRUE(makes_contexts());
}

// In a program of its own, where no cipher has been fetched yet.
TEST(OsslDeathTest, ACipherThatCouldNotBeFetchedIsFetchedAgain) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(
        {
            nothing_to_fetch = true;
            const bool none = !makes_contexts();
            nothing_to_fetch = false;
            std::_Exit(none && makes_contexts() ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace kms
