// Ids that await their reply: those that were answered take neither a place in flight nor memory.
#include "client/link/unanswered.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>
#include <vector>

namespace kms::test {
namespace {

UnansweredIds sent(std::uint64_t count, bool unordered) {
    UnansweredIds ids;
    ids.set_unordered(unordered);
    for (std::uint64_t id = 0; id < count; ++id) {
        EXPECT_EQ(ids.take_next(), id);
    }
    return ids;
}

TEST(UnansweredIdsTest, AwaitTheOldestAloneInOrder) {
    UnansweredIds ids = sent(3, false);
    EXPECT_FALSE(ids.awaits(1));
    for (std::uint64_t id = 0; id < 3; ++id) {
        EXPECT_TRUE(ids.awaits(id));
        ids.answered(id);
        EXPECT_FALSE(ids.awaits(id));
    }
    EXPECT_TRUE(ids.empty());
    EXPECT_FALSE(ids.awaits(3));
}

// A model that holds each id; the order is random, but the same each time.
TEST(UnansweredIdsTest, AreAnsweredInWhateverOrder) {
    std::mt19937 random(1);
    for (int round = 0; round < 50; ++round) {
        UnansweredIds ids = sent(60, true);
        std::vector<std::uint64_t> order(60);
        std::iota(order.begin(), order.end(), 0);
        std::set<std::uint64_t> left(order.begin(), order.end());
        std::shuffle(order.begin(), order.end(), random);
        for (const std::uint64_t answered : order) {
            ids.answered(answered);
            left.erase(answered);
            EXPECT_EQ(ids.in_flight(), left.size());
            EXPECT_EQ(ids.oldest(), left.empty() ? 60 : *left.begin());
            for (std::uint64_t id = 0; id < 62; ++id) {
                EXPECT_EQ(ids.awaits(id), left.contains(id)) << id;
                const auto next = left.lower_bound(id);
                EXPECT_EQ(ids.oldest_from(id),
                          next == left.end() ? std::max<std::uint64_t>(60, id) : *next)
                    << id;
            }
        }
        EXPECT_TRUE(ids.empty());
        EXPECT_EQ(ids.ranges(), 0u);
    }
}

TEST(UnansweredIdsTest, CostNothingOnceTheyAreAnswered) {
    UnansweredIds ids = sent(1, true);
    for (std::uint64_t id = 1; id < 100'000; ++id) {
        ids.take_next();
        ids.answered(id);
    }
    EXPECT_EQ(ids.oldest(), 0u);
    EXPECT_EQ(ids.in_flight(), 1u);
    EXPECT_EQ(ids.ranges(), 1u);
    EXPECT_TRUE(ids.awaits(0));
    EXPECT_FALSE(ids.awaits(99'999));
}

TEST(UnansweredIdsTest, AreGivenBackWhereNobodyAnsweredThem) {
    UnansweredIds ids = sent(10, true);
    ids.answered(4);
    EXPECT_FALSE(ids.give_back(6));
    EXPECT_TRUE(ids.give_back(5));
    EXPECT_EQ(ids.next(), 5u);
    EXPECT_EQ(ids.in_flight(), 4u);
    EXPECT_FALSE(ids.awaits(5));
}

}  // namespace
}  // namespace kms::test
