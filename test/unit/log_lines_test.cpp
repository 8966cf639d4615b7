#include "client/link/log_lines.hpp"

#include <gtest/gtest.h>

namespace kms::test {
namespace {

TEST(LogLinesTest, KeepsTheFirstLineAndTheLast) {
    LogLines log;
    EXPECT_EQ(log.first_and_last(10), "");
    log.append(bytes_of(std::string("\nalone\n")));
    EXPECT_EQ(log.first_and_last(10), "alone");
    log.append(bytes_of(std::string("more\n\nthe last of all")));
    log.finish();
    EXPECT_EQ(log.first_and_last(8), "alone ... the last");
    log.begin();
    EXPECT_EQ(log.first_and_last(10), "");
}

}  // namespace
}  // namespace kms::test
