#include <gtest/gtest.h>

#include "xaes_stream.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

TEST(XaesSlow, OneMillionAccumulated) {
    EXPECT_EQ(test::accumulated(1'000'000), test::accumulated_1_000_000);
}

}  // namespace
}  // namespace kms
