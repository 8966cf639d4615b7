// The line that tells how far a transfer of kms-blob has come.
#include "blob/progress.hpp"

#include <gtest/gtest.h>

namespace kms::blob {
namespace {

constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20;

TEST(ProgressTest, ShowsBarPercentRateAndWhatIsLeft) {
    EXPECT_EQ(progress_text({75 * mebibyte, 300 * mebibyte, 0, 1.5}),
              "[====            ]  25%  75.0 MiB of 300.0 MiB  50.0 MiB/s  0:05 left");
}

TEST(ProgressTest, WithoutATotalShowsBytesAndRate) {
    EXPECT_EQ(progress_text({75 * mebibyte, std::nullopt, 0, 1.5}), "75.0 MiB  50.0 MiB/s");
}

TEST(ProgressTest, CountsTheRateFromWhereItBegan) {
    EXPECT_EQ(progress_text({200 * mebibyte, 300 * mebibyte, 100 * mebibyte, 10}),
              "[==========      ]  67%  200.0 MiB of 300.0 MiB  10.0 MiB/s  0:10 left");
}

TEST(ProgressTest, AtTheEndNothingIsLeft) {
    EXPECT_EQ(progress_text({mebibyte, mebibyte, 0, 1}),
              "[================] 100%  1.0 MiB of 1.0 MiB  1.0 MiB/s");
}

TEST(ProgressTest, TakesAFileThatGrows) {
    EXPECT_EQ(progress_text({2 * mebibyte, mebibyte, 0, 1}),
              "[================] 100%  2.0 MiB of 1.0 MiB  2.0 MiB/s");
}

TEST(ProgressTest, TakesNothingAtAll) {
    EXPECT_EQ(progress_text({0, 0, 0, 0}), "[================] 100%  0 bytes of 0 bytes");
    EXPECT_EQ(progress_text({0, std::nullopt, 0, 0}), "0 bytes");
    EXPECT_EQ(progress_text({0, mebibyte, 0, 1}), "[                ]   0%  0 bytes of 1.0 MiB");
}

TEST(ProgressTest, WritesHoursWhereThereAreSome) {
    EXPECT_EQ(progress_text({mebibyte, 7201 * mebibyte, 0, 1}),
              "[                ]   0%  1.0 MiB of 7.0 GiB  1.0 MiB/s  2:00:00 left");
}

TEST(ProgressTest, FitsIntoALine) {
    constexpr std::uint64_t huge = std::uint64_t{1} << 62;
    EXPECT_LT(progress_text({1, huge, 0, 1e9}).size(), 80U);
    EXPECT_LT(progress_text({huge - 1, huge, 0, 3e-6}).size(), 80U);
    EXPECT_LT(progress_text({1047552000, 1047552000000, 0, 1.0000001}).size(), 80U);
}

}  // namespace
}  // namespace kms::blob
