#include "crypto/random.hpp"

#include <set>

#include "forked.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Sample = std::vector<Byte>;

Sample taken(RandomPool& pool, std::size_t size = 16) {
    Sample sample(size);
    EXPECT_TRUE(pool.take(sample));
    return sample;
}

TEST(Random, SecretAndPublicBytesDiffer) {
    std::set<Sample> seen;
    for (int i = 0; i < 100; ++i) {
        Sample secret(32);
        Sample open(32);
        ASSERT_TRUE(random_secret(secret));
        ASSERT_TRUE(random_public(open));
        seen.insert(secret);
        seen.insert(open);
    }
    EXPECT_EQ(seen.size(), 200u);
    EXPECT_TRUE(random_secret({}));
}

TEST(RandomPool, NeverGivesTheSameBytesTwice) {
    RandomPool pool;
    std::set<Sample> seen;
    for (int i = 0; i < 5000; ++i) {
        seen.insert(taken(pool, 12));
    }
    EXPECT_EQ(seen.size(), 5000u);
}

TEST(RandomPool, GivesSizesAroundItsBlock) {
    RandomPool pool;
    for (const std::size_t size : {0, 1, 1023, 1024, 1025, 5000, 3, 1024}) {
        const Sample sample = taken(pool, size);
        if (size >= 1023) {
            EXPECT_FALSE(test::all_zero(ByteView(sample).last(32)));
        }
    }
}

TEST(RandomPool, GivesFreshBytesAfterAWipe) {
    RandomPool pool;
    const Sample before = taken(pool);
    pool.wipe();
    const Sample after = taken(pool);
    EXPECT_NE(before, after);
    EXPECT_FALSE(test::all_zero(after));
}

TEST(RandomPool, ChildrenNeverGetTheParentsBytes) {
    RandomPool pool;
    std::set<Sample> seen{taken(pool)};
    for (int i = 0; i < 20; ++i) {
        seen.insert(test::in_child(16, [&](ByteSpan out) { return bool(pool.take(out)); }));
    }
    seen.insert(taken(pool));
    EXPECT_EQ(seen.size(), 22u);
}

TEST(RandomPool, GrandchildrenNeither) {
    RandomPool pool;
    std::set<Sample> seen{taken(pool)};
    const Sample pair = test::in_child(32, [&](ByteSpan out) {
        const bool drawn = bool(pool.take(out.first(16)));
        const Sample inner =
            test::in_child(16, [&](ByteSpan place) { return bool(pool.take(place)); });
        std::ranges::copy(inner, out.last(16).begin());
        return drawn;
    });
    seen.emplace(pair.begin(), pair.begin() + 16);
    seen.emplace(pair.begin() + 16, pair.end());
    seen.insert(taken(pool));
    EXPECT_EQ(seen.size(), 4u);
}

TEST(ProcessEpoch, RisesInChildrenOnly) {
    const unsigned mine = process_epoch();
    const Sample childs = test::in_child(4, [](ByteSpan out) {
        store_be(out, process_epoch());
        return true;
    });
    EXPECT_EQ(load_be(childs), mine + 1);
    EXPECT_EQ(process_epoch(), mine);
}

}  // namespace
}  // namespace kms
