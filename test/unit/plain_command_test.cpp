// Which commands are started without a shell: none that a shell would read in another way.
#include "client/link/plain_command.hpp"

#include <gtest/gtest.h>

#include "base/floor.hpp"

namespace kms {
namespace {

using Words = std::vector<std::string>;

TEST(PlainCommand, IsSplitAtSpaces) {
    EXPECT_EQ(plain_words("/bin/true"), Words{"/bin/true"});
    EXPECT_EQ(plain_words("  /a/b   --c=d,e  -- %41 f@g:h+1 "),
              (Words{"/a/b", "--c=d,e", "--", "%41", "f@g:h+1"}));
}

TEST(PlainCommand, MayBeginWithExec) {
    EXPECT_EQ(plain_words("exec /a b"), (Words{"/a", "b"}));
    EXPECT_EQ(plain_words("exec exec /a"), Words{});
    EXPECT_EQ(plain_words("exec"), Words{});
    EXPECT_EQ(plain_words("exec -a name /a"), Words{});
}

TEST(PlainCommand, NamesAProgramByItsAbsolutePath) {
    for (const char* command : {"", " ", "a", "./a", "a/b", "A=/b /c", "cd /", "if /a", "=/a"}) {
        EXPECT_EQ(plain_words(command), Words{}) << command;
    }
}

TEST(PlainCommand, HasNoCharacterThatMeansSomethingToAShell) {
    const std::string_view harmless =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.,:=@%+- ";
    for (int value = 0; value < 256; ++value) {
        const std::string command = std::string("/a b") + static_cast<char>(value) + "c";
        const bool taken = !plain_words(command).empty();
        EXPECT_EQ(taken, harmless.find(static_cast<char>(value)) != std::string_view::npos)
            << value;
    }
}

}  // namespace
}  // namespace kms
