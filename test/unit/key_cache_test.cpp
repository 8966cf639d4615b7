#include "client/calls/key_cache.hpp"

#include <gtest/gtest.h>

namespace kms {
namespace {

using std::chrono::seconds;

FetchedKey fetched(Byte fill, std::uint32_t version) {
    SecretBytes key(32);
    std::fill(key.span().begin(), key.span().end(), fill);
    const auto tag = compute_key_tag(Algorithm::xaes_256_gcm, key.view());
    return {version, Algorithm::xaes_256_gcm, *tag, std::move(key)};
}

const ByteView one = bytes_of("one");
const ByteView two = bytes_of("two");

class KeyCacheTest : public ::testing::Test {
  protected:
    HeldKey* hold(std::uint32_t owner, ByteView identifier, Byte fill, bool is_current = true) {
        auto held =
            cache.hold(cache.find_or_add(owner, identifier), fetched(fill, fill), is_current);
        EXPECT_TRUE(held);
        return *held;
    }

    KeyCache cache;
};

bool seals(HeldKey& held) {
    SecretBytes sealed(held.key.sealed_size(3));
    return bool(held.key.seal(bytes_of("abc"), {}, sealed.span()));
}

TEST_F(KeyCacheTest, KeysBelongToAnOwnerAndAnIdentifier) {
    hold(10, one, 1);
    EXPECT_NE(cache.find(10, one), nullptr);
    EXPECT_EQ(cache.find(11, one), nullptr);
    EXPECT_EQ(cache.find(10, two), nullptr);
    EXPECT_EQ(cache.find(10, {}), nullptr);
}

TEST_F(KeyCacheTest, VersionsAreFoundByTheirTag) {
    HeldKey* current = hold(10, one, 2);
    HeldKey* old = hold(10, one, 1, false);
    HeldKeys* keys = cache.find(10, one);
    EXPECT_EQ(keys->current, current);
    EXPECT_EQ(keys->find(fetched(1, 1).tag), old);
    EXPECT_EQ(keys->find(fetched(3, 3).tag), nullptr);
    EXPECT_TRUE(seals(*old));
}

TEST_F(KeyCacheTest, AKeyThatIsFetchedAgainTakesItsPlace) {
    HeldKey* first = hold(10, one, 1);
    cache.wipe_all();
    HeldKey* again = hold(10, one, 1);
    EXPECT_EQ(first, again);
    EXPECT_FALSE(again->wiped);
    EXPECT_TRUE(seals(*again));
    EXPECT_EQ(cache.find(10, one)->versions.size(), 1u);
}

TEST_F(KeyCacheTest, WhatIsFetchedByItsTagIsNoWordOnWhatIsCurrent) {
    hold(10, one, 1);
    HeldKey* again = hold(10, one, 1, false);
    EXPECT_EQ(cache.find(10, one)->current, nullptr);
    EXPECT_EQ(cache.find(10, one)->find(again->key.tag()), again);
}

TEST_F(KeyCacheTest, WipedKeysAreNotFoundAndDoNotSeal) {
    HeldKey* held = hold(10, one, 1);
    cache.wipe_all();
    EXPECT_TRUE(held->wiped);
    EXPECT_FALSE(seals(*held));
    EXPECT_EQ(cache.find(10, one)->find(fetched(1, 1).tag), nullptr);
}

TEST_F(KeyCacheTest, KeysExpire) {
    HeldKey* held = hold(10, one, 1);
    const TimePoint end = held->asked_at + seconds(5);
    EXPECT_EQ(cache.next_expiry(seconds(5)), end);
    EXPECT_EQ(cache.next_expiry(seconds(0)), TimePoint::max());
    cache.wipe_expired(end - milliseconds(1), seconds(5));
    EXPECT_FALSE(held->wiped);
    cache.wipe_expired(end + seconds(1000), seconds(0));
    EXPECT_FALSE(held->wiped);
    cache.wipe_expired(end, seconds(5));
    EXPECT_TRUE(held->wiped);
    EXPECT_EQ(cache.next_expiry(seconds(5)), TimePoint::max());
    cache.drop_expired(end, seconds(5));
    EXPECT_EQ(cache.find(10, one), nullptr);
    EXPECT_TRUE(cache.empty());
}

TEST_F(KeyCacheTest, OneVersionMayExpireBeforeAnother) {
    HeldKey* current = hold(10, one, 2);
    HeldKey* old = hold(10, one, 1, false);
    old->asked_at = current->asked_at + seconds(10);
    cache.drop_expired(old->asked_at, seconds(10));
    HeldKeys* keys = cache.find(10, one);
    ASSERT_NE(keys, nullptr);
    EXPECT_EQ(keys->current, nullptr);
    EXPECT_EQ(keys->versions.size(), 1u);
    EXPECT_EQ(cache.next_expiry(seconds(10)), old->asked_at + seconds(10));
}

TEST_F(KeyCacheTest, ALateAnswerDoesNotLiveLonger) {
    FetchedKey late = fetched(1, 1);
    late.asked_at -= seconds(4);
    ASSERT_TRUE(cache.hold(cache.find_or_add(10, one), late, true));
    EXPECT_EQ(cache.next_expiry(seconds(5)), late.asked_at + seconds(5));
    cache.drop_expired(Clock::now(), seconds(4));
    EXPECT_TRUE(cache.empty());
}

TEST_F(KeyCacheTest, AKeyThatIsFetchedAgainLivesOn) {
    const TimePoint first = hold(10, one, 1)->asked_at;
    HeldKey* again = hold(10, one, 1);
    again->asked_at = first + seconds(3);
    cache.drop_expired(first + seconds(5), seconds(5));
    EXPECT_EQ(cache.find(10, one)->current, again);
    EXPECT_EQ(cache.next_expiry(seconds(5)), first + seconds(8));
    cache.wipe_expired(first + seconds(7), seconds(5));
    EXPECT_FALSE(again->wiped);
    cache.drop_expired(first + seconds(8), seconds(5));
    EXPECT_TRUE(cache.empty());
}

TEST_F(KeyCacheTest, ATimeToLiveThatIsLoweredHoldsAtOnce) {
    HeldKey* held = hold(10, one, 1);
    const TimePoint later = held->asked_at + seconds(10);
    cache.drop_expired(later, seconds(0));
    cache.drop_expired(later, seconds(1000));
    EXPECT_FALSE(cache.empty());
    cache.drop_expired(later, seconds(10));
    EXPECT_TRUE(cache.empty());
    EXPECT_EQ(cache.next_expiry(seconds(10)), TimePoint::max());
}

TEST_F(KeyCacheTest, WipedKeysAreDroppedBeforeTheirTime) {
    hold(10, one, 1);
    cache.wipe_all();
    EXPECT_EQ(cache.next_expiry(seconds(5)), TimePoint::max());
    HeldKey* fresh = hold(10, two, 2);
    cache.drop_expired(fresh->asked_at, seconds(0));
    EXPECT_EQ(cache.find(10, one), nullptr);
    EXPECT_EQ(cache.find(10, two)->current, fresh);
    EXPECT_EQ(cache.next_expiry(seconds(5)), fresh->asked_at + seconds(5));
}

// The oldest is dropped with its name; the next one counts then.
TEST_F(KeyCacheTest, TheNextExpiryIsOneOfAKeyThatIsHeld) {
    HeldKey* first = hold(10, one, 1);
    HeldKey* second = hold(10, two, 2);
    second->asked_at = first->asked_at + seconds(2);
    const TimePoint end = second->asked_at + seconds(5);
    EXPECT_EQ(cache.next_expiry(seconds(5)), end - seconds(2));
    cache.drop(one);
    EXPECT_EQ(cache.next_expiry(seconds(5)), end);
    cache.drop_all();
    EXPECT_EQ(cache.next_expiry(seconds(5)), TimePoint::max());
}

TEST_F(KeyCacheTest, FindsEachOfManyAndMovesNone) {
    constexpr std::uint32_t owners = 3;
    std::vector<HeldKeys*> added;
    const auto name = [](int number) { return "key " + std::to_string(number); };
    for (int number = 0; number < 1000; ++number) {
        for (std::uint32_t owner = 0; owner < owners; ++owner) {
            added.push_back(&cache.find_or_add(owner, bytes_of(name(number))));
        }
    }
    for (std::size_t i = 0; i < added.size(); ++i) {
        const std::string expected = name(static_cast<int>(i / owners));
        ASSERT_EQ(cache.find(i % owners, bytes_of(expected)), added[i]);
        ASSERT_EQ(added[i]->owner, i % owners);
        ASSERT_EQ(added[i]->identifier, expected);
    }
    EXPECT_EQ(cache.find(owners, bytes_of(name(1))), nullptr);
    EXPECT_EQ(cache.find(0, bytes_of("key 1000")), nullptr);
}

TEST_F(KeyCacheTest, TheGenerationRisesWhenSomethingIsFreedAndOnlyThen) {
    hold(10, one, 1);
    const auto before = cache.generation();
    cache.drop_expired(Clock::now(), seconds(1000));
    cache.drop(two);
    cache.retain([](const HeldKeys&) { return true; });
    cache.wipe_expired(Clock::now(), seconds(1));
    hold(10, two, 2);
    EXPECT_EQ(cache.generation(), before);
    cache.drop(two);
    EXPECT_GT(cache.generation(), before);
}

TEST_F(KeyCacheTest, DropsForEveryOwner) {
    hold(10, one, 1);
    hold(11, one, 1);
    hold(11, two, 2);
    cache.drop(one);
    EXPECT_EQ(cache.find(10, one), nullptr);
    EXPECT_EQ(cache.find(11, one), nullptr);
    EXPECT_NE(cache.find(11, two), nullptr);
    cache.drop_all();
    EXPECT_TRUE(cache.empty());
}

TEST_F(KeyCacheTest, RetainsWhatIsWanted) {
    hold(10, one, 1);
    hold(10, two, 2);
    cache.retain([](const HeldKeys& keys) { return keys.identifier == "two"; });
    EXPECT_EQ(cache.find(10, one), nullptr);
    EXPECT_NE(cache.find(10, two), nullptr);
}

TEST_F(KeyCacheTest, WhatWasUsedLeastRecentlyIsTrimmedFirst) {
    const ByteView three = bytes_of("three");
    hold(10, one, 1);
    hold(10, two, 2);
    hold(11, one, 1);
    cache.touch(*cache.find(10, one));
    HeldKey* newest = hold(10, three, 3);
    EXPECT_EQ(cache.size(), 4u);
    const std::uint64_t generation = cache.generation();
    cache.trim(4, *cache.find(10, three), newest);
    EXPECT_EQ(cache.generation(), generation);
    cache.trim(2, *cache.find(10, three), newest);
    EXPECT_GT(cache.generation(), generation);
    EXPECT_EQ(cache.size(), 2u);
    EXPECT_EQ(cache.find(10, two), nullptr);
    EXPECT_EQ(cache.find(11, one), nullptr);
    EXPECT_NE(cache.find(10, one), nullptr);
    EXPECT_TRUE(seals(*cache.find(10, three)->current));
}

TEST_F(KeyCacheTest, TheKeyInUseIsNeverTrimmed) {
    for (Byte version = 1; version <= 5; ++version) {
        hold(10, one, version, version == 5);
    }
    HeldKeys* keys = cache.find(10, one);
    HeldKey* old = keys->find(fetched(2, 2).tag);
    cache.trim(3, *keys, old);
    EXPECT_EQ(cache.size(), 3u);
    EXPECT_TRUE(seals(*old));
    cache.trim(0, *keys, old);
    EXPECT_EQ(cache.size(), 2u);
    EXPECT_EQ(keys->find(fetched(2, 2).tag), old);
    EXPECT_EQ(keys->current, keys->find(fetched(5, 5).tag));
}

TEST_F(KeyCacheTest, VersionsAreDroppedAsTheCallerSays) {
    hold(10, one, 1, false);
    HeldKeys* keys = cache.find(10, one);
    hold(10, one, 2);
    cache.drop_versions(*keys, [](const HeldKey&) { return false; });
    EXPECT_NE(keys->current, nullptr);
    cache.drop_versions(*keys, [](const HeldKey& held) { return held.version == 2; });
    EXPECT_EQ(keys->current, nullptr);
    EXPECT_EQ(cache.size(), 1u);
    EXPECT_NE(keys->find(fetched(1, 1).tag), nullptr);
}

TEST_F(KeyCacheTest, ItsSizeFollowsEveryDrop) {
    hold(10, one, 1);
    hold(10, one, 1);
    hold(10, two, 2);
    EXPECT_EQ(cache.size(), 2u);
    cache.drop(one);
    EXPECT_EQ(cache.size(), 1u);
    cache.wipe_all();
    cache.drop_expired(Clock::now(), seconds(0));
    EXPECT_EQ(cache.size(), 0u);
    hold(10, one, 1);
    cache.drop_all();
    EXPECT_EQ(cache.size(), 0u);
    HeldKey* held = hold(10, two, 2);
    cache.trim(1, *cache.find(10, two), held);
    EXPECT_EQ(cache.size(), 1u);
}

}  // namespace
}  // namespace kms
