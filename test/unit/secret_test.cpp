#include "base/secret.hpp"

#include <gtest/gtest.h>

#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

std::vector<Byte> copied(const SecretBytes& secret) {
    return {secret.data(), secret.data() + secret.size()};
}

TEST(SecretBytes, GrowsAndKeepsWhatItHolds) {
    SecretBytes secret;
    std::vector<Byte> expected;
    for (std::size_t size : {1, 2, 0, 100, 5000}) {
        const auto more = test::pattern(size, static_cast<unsigned>(size));
        secret.append(more);
        expected = test::joined(expected, more);
        EXPECT_EQ(copied(secret), expected);
        EXPECT_GE(secret.capacity(), secret.size());
    }
}

TEST(SecretBytes, WipesWhatItCutsOff) {
    SecretBytes secret = SecretBytes::copy_of(test::pattern(100));
    secret.resize(10);
    EXPECT_EQ(copied(secret), test::pattern(10));
    EXPECT_TRUE(test::all_zero({secret.data() + 10, 90}));
    secret.clear();
    EXPECT_TRUE(secret.empty());
    EXPECT_TRUE(test::all_zero({secret.data(), 100}));
}

TEST(SecretBytes, ExtendsAtItsEnd) {
    SecretBytes secret = SecretBytes::copy_of(test::pattern(3));
    const ByteSpan added = secret.extend(5);
    ASSERT_EQ(added.size(), 5u);
    EXPECT_EQ(added.data(), secret.data() + 3);
    EXPECT_EQ(secret.size(), 8u);
    std::ranges::copy(test::pattern(5), added.begin());
    EXPECT_EQ(copied(secret), test::joined(test::pattern(3), test::pattern(5)));
    EXPECT_TRUE(secret.extend(0).empty());
    secret.reserve(1000);
    const Byte* const storage = secret.data();
    EXPECT_EQ(secret.extend(992).data(), storage + 8);
    EXPECT_EQ(secret.capacity(), 1000u);
}

TEST(SecretBytes, MovesAndLeavesNothingBehind) {
    SecretBytes secret = SecretBytes::copy_of(test::pattern(40));
    const Byte* storage = secret.data();
    SecretBytes moved(std::move(secret));
    EXPECT_EQ(moved.data(), storage);
    SecretBytes assigned = SecretBytes::copy_of(test::pattern(7));
    assigned = std::move(moved);
    EXPECT_EQ(assigned.data(), storage);
    EXPECT_EQ(copied(assigned), test::pattern(40));
    EXPECT_TRUE(moved.empty());
    EXPECT_EQ(moved.capacity(), 0u);
}

TEST(SecretBytes, ReserveKeepsTheSize) {
    SecretBytes secret = SecretBytes::copy_of(test::pattern(3));
    secret.reserve(1000);
    EXPECT_EQ(secret.capacity(), 1000u);
    EXPECT_EQ(copied(secret), test::pattern(3));
    secret.reserve(10);
    EXPECT_EQ(secret.capacity(), 1000u);
}

TEST(SecretBytes, ReleaseTwiceIsHarmless) {
    SecretBytes secret(10);
    secret.release();
    secret.release();
    EXPECT_EQ(secret.data(), nullptr);
    secret.resize(0);
    EXPECT_TRUE(secret.view().empty());
}

TEST(SecretArray, BeginsWithZeros) {
    const SecretArray<32> secret;
    EXPECT_EQ(secret.size(), 32u);
    EXPECT_TRUE(test::all_zero(secret.view()));
}

TEST(SecretArray, WipesAtItsEnd) {
    alignas(SecretArray<32>) Byte place[sizeof(SecretArray<32>)];
    auto* secret = new (place) SecretArray<32>;
    std::ranges::fill(secret->span(), Byte{0xAA});
    secret->~SecretArray();
    EXPECT_TRUE(test::all_zero(place));
}

TEST(Bytes, NumbersAreBigEndian) {
    Byte wide[8];
    store_be(wide, 0x0102030405060708);
    EXPECT_EQ(wide[0], 1);
    EXPECT_EQ(wide[7], 8);
    EXPECT_EQ(load_be(wide), 0x0102030405060708u);
    Byte narrow[3];
    store_be(narrow, 0xFFABCDEF);
    EXPECT_EQ(load_be(narrow), 0xABCDEFu);
}

}  // namespace
}  // namespace kms
