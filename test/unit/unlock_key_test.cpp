#include "agent/keyring/unlock_key.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/unique_fd.hpp"

namespace kms::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr seconds a_minute{60};

class UnlockKeyTest : public testing::Test {
  protected:
    UnlockKeyTest() {
        std::string name = (fs::temp_directory_path() / "unlock_XXXXXX").string();
        folder_ = mkdtemp(name.data());
    }
    ~UnlockKeyTest() override { fs::remove_all(folder_); }

    std::string file(std::string_view text, unsigned mode) const {
        const std::string path = folder_ / "unlock_key";
        fs::remove(path);
        std::ofstream(path, std::ios::binary) << text;
        fs::permissions(path, static_cast<fs::perms>(mode));
        return path;
    }

    static std::string passphrase(const std::string& command, seconds patience = a_minute) {
        const auto answer = command_source(command, patience)->ask();
        return answer ? std::string(text_of(answer->view())) : "error: " + answer.error().text;
    }

    fs::path folder_;
};

TEST_F(UnlockKeyTest, AKeyFileHasExactly32Bytes) {
    for (const std::size_t size : {0u, 1u, 31u, 32u, 33u, 64u, 100000u}) {
        const auto key = key_file_source(file(std::string(size, 'k'), 0600))->ask();
        EXPECT_EQ(static_cast<bool>(key), size == 32) << size;
        if (!key) {
            EXPECT_EQ(key.error().code, Code::invalid);
        }
    }
}

TEST_F(UnlockKeyTest, AKeyFileIsForOneUser) {
    const std::string key(32, 'k');
    for (const unsigned mode : {0600u, 0400u, 0500u}) {
        EXPECT_TRUE(key_file_source(file(key, mode))->ask()) << std::oct << mode;
    }
    for (const unsigned mode : {0640u, 0604u, 0620u, 0602u, 0666u}) {
        EXPECT_EQ(key_file_source(file(key, mode))->ask().error().code, Code::denied)
            << std::oct << mode;
    }
    EXPECT_EQ(key_file_source(folder_ / "missing")->ask().error().code, Code::io);
    EXPECT_FALSE(key_file_source(folder_)->ask());
}

TEST_F(UnlockKeyTest, AKeyFileIsMadeOnce) {
    const std::string path = folder_ / "new";
    const auto source = key_file_source(path);
    EXPECT_TRUE(source->is_missing());
    const auto first = source->settle({}, std::nullopt);
    ASSERT_TRUE(first);
    EXPECT_FALSE(source->is_missing());
    EXPECT_TRUE(std::ranges::equal(first->view(), source->ask()->view()));
    const auto again = source->settle({}, std::nullopt);
    ASSERT_TRUE(again);
    EXPECT_TRUE(std::ranges::equal(first->view(), again->view()));
    EXPECT_EQ(make_key_file(path).error().code, Code::invalid);
    EXPECT_FALSE(make_key_file(folder_ / "no" / "folder"));
}

TEST_F(UnlockKeyTest, ACommandsOutputIsThePassphrase) {
    EXPECT_EQ(passphrase("echo secret"), "secret");
    EXPECT_EQ(passphrase("printf 'two\\nlines\\n\\n'"), "two\nlines\n");
    EXPECT_EQ(passphrase("printf ' spaces '"), " spaces ");
    EXPECT_EQ(passphrase("head -c 4096 /dev/zero | tr '\\0' x"), std::string(4096, 'x'));
    EXPECT_EQ(passphrase("head -c 4096 /dev/zero | tr '\\0' x; echo"), std::string(4096, 'x'));
}

TEST_F(UnlockKeyTest, ACommandGetsNoInputOfOurs) {
    EXPECT_EQ(passphrase("cat; echo end"), "end");
}

TEST_F(UnlockKeyTest, ABrokenCommandIsAClearError) {
    const auto says = [](const std::string& command, std::string_view text) {
        return passphrase(command).find(text) != std::string::npos;
    };
    EXPECT_TRUE(says("true", "empty passphrase"));
    EXPECT_TRUE(says("echo", "empty passphrase"));
    EXPECT_TRUE(says("echo secret; exit 3", "exit code 3"));
    EXPECT_TRUE(says("kill -9 $$", "signal 9"));
    EXPECT_TRUE(says("/no/such/program", "exit code 127"));
    EXPECT_TRUE(says("head -c 4097 /dev/zero", "4096 bytes"));
    EXPECT_TRUE(says("cat /dev/zero", "4096 bytes"));
}

// Writes its process to the file before it goes on with `rest`.
class LastingCommand : public UnlockKeyTest {
  protected:
    // As under a server: at a terminal a command stays in the terminal's group.
    LastingCommand() {
        const UniqueFd terminal(open("/dev/tty", O_RDONLY | O_NOCTTY));
        if (terminal) {
            ioctl(terminal.get(), TIOCNOTTY);
        }
    }

    std::string telling(const std::string& rest) const {
        return "echo $$ > " + (folder_ / "pid").string() + "; " + rest;
    }
    // Whether the process that the command has told does not end.
    bool runs_on() const {
        pid_t pid = 0;
        std::ifstream(folder_ / "pid") >> pid;
        EXPECT_GT(pid, 0);
        const auto end = std::chrono::steady_clock::now() + seconds(10);
        while (is_alive(pid)) {
            if (std::chrono::steady_clock::now() > end) {
                return true;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return false;
    }

  private:
    // Who adopts a process may reap it late, or never.
    static bool is_alive(pid_t pid) {
        std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
        std::string number, name, state;
        status >> number >> name >> state;
        return !state.empty() && state != "Z";
    }
};

TEST_F(LastingCommand, IsKilledAfterItsTime) {
    for (const char* rest : {"sleep 1000", "echo secret; exec sleep 1000",
                             "trap '' TERM HUP; while :; do sleep 1; done", "kill -STOP $$",
                             "echo secret; exec >&-; sleep 1000", "(sleep 1000); echo secret"}) {
        const auto before = std::chrono::steady_clock::now();
        EXPECT_EQ(passphrase(telling(rest), seconds(1)),
                  "error: the passphrase command did not end within 1 s")
            << rest;
        EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(20));
        EXPECT_FALSE(runs_on()) << rest;
    }
}

TEST_F(LastingCommand, LeavesNothingThatHoldsItsOutput) {
    EXPECT_EQ(
        passphrase("sleep 1000 & echo $! > " + (folder_ / "pid").string() + "; echo secret",
                   seconds(1)),
        "error: the passphrase command has ended, but something that it started did not close "
        "its output within 1 s");
    EXPECT_FALSE(runs_on());
}

TEST_F(LastingCommand, LeavesNothingBehindASuccessOrAFailure) {
    const std::string leaves =
        "sleep 1000 > /dev/null & echo $! > " + (folder_ / "pid").string() + "; ";
    EXPECT_EQ(passphrase(leaves + "echo secret"), "secret");
    EXPECT_FALSE(runs_on());
    EXPECT_EQ(passphrase(leaves + "exit 3"),
              "error: the passphrase command failed with exit code 3");
    EXPECT_FALSE(runs_on());
    EXPECT_NE(passphrase(leaves + "exec cat /dev/zero").find("4096 bytes"), std::string::npos);
    EXPECT_FALSE(runs_on());
}

TEST_F(LastingCommand, MayEndItsWholeGroup) {
    EXPECT_EQ(passphrase("echo secret; kill -KILL 0"),
              "error: the passphrase command was ended by signal 9");
}

TEST_F(LastingCommand, IsNotCutShort) {
    EXPECT_EQ(passphrase("sleep 1; printf sec; sleep 1; echo ret"), "secret");
    EXPECT_EQ(passphrase("(sleep 1; echo secret) & exit 0"), "secret");
    // A megabyte that is read by nobody ends it.
    EXPECT_NE(passphrase("head -c 1000000 /dev/zero").find("4096 bytes"), std::string::npos);
}

TEST_F(UnlockKeyTest, ADerivedKeyIsRemembered) {
    const std::string counter = folder_ / "asked";
    UnlockKey unlock_key(command_source("echo x >> " + counter + "; echo secret", a_minute));
    UnlockRecipe recipe;
    recipe.kdf = Kdf::scrypt;
    recipe.cost = {15, 8, 1};
    const auto asked = [&] { return fs::exists(counter) ? fs::file_size(counter) / 2 : 0; };
    EXPECT_FALSE(unlock_key.remembers(recipe));
    const SecretBytes first = SecretBytes::copy_of(*unlock_key.by(recipe));
    EXPECT_TRUE(unlock_key.remembers(recipe));
    EXPECT_TRUE(std::ranges::equal(first.view(), *unlock_key.by(recipe)));
    EXPECT_EQ(asked(), 1u);
    recipe.salt[31] = 1;
    EXPECT_FALSE(std::ranges::equal(first.view(), *unlock_key.by(recipe)));
    EXPECT_EQ(asked(), 2u);
    recipe.cost.p = 2;
    EXPECT_TRUE(unlock_key.by(recipe));
    EXPECT_EQ(asked(), 3u);
    unlock_key.forget();
    EXPECT_FALSE(unlock_key.remembers(recipe));
}

// Between the two a writer waits for the keyring's lock.
TEST_F(UnlockKeyTest, AKeyFileCountsAsItIsWhenItSettles) {
    UnlockKey unlock_key(key_file_source(file(std::string(32, 'o'), 0600)));
    const auto recipe = unlock_key.begin();
    ASSERT_TRUE(recipe);
    file(std::string(32, 'n'), 0600);
    EXPECT_EQ(text_of(*unlock_key.settle(*recipe)), std::string(32, 'n'));
    fs::remove(folder_ / "unlock_key");
    const auto made = unlock_key.settle(*recipe);
    ASSERT_TRUE(made);
    EXPECT_TRUE(std::ranges::equal(*made, key_file_source(folder_ / "unlock_key")->ask()->view()));
    file("short", 0600);
    EXPECT_EQ(unlock_key.settle(*recipe).error().code, Code::invalid);
    file(std::string(32, 'k'), 0640);
    EXPECT_EQ(unlock_key.settle(*recipe).error().code, Code::denied);
}

TEST_F(UnlockKeyTest, APipeGivesItsKeyOnce) {
    const std::string pipe = folder_ / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << std::string(32, 'p'); });
    UnlockKey unlock_key(key_file_source(pipe));
    const auto recipe = unlock_key.begin();
    writer.join();
    ASSERT_TRUE(recipe);
    EXPECT_EQ(text_of(*unlock_key.settle(*recipe)), std::string(32, 'p'));
}

TEST_F(UnlockKeyTest, ANewPassphraseIsPrintedTwice) {
    const std::string counter = folder_ / "asked";
    UnlockKey changing(command_source("echo x >> " + counter + "; cat " + counter, a_minute));
    const auto begun = changing.begin();
    ASSERT_TRUE(begun);
    EXPECT_EQ(changing.settle(*begun).error().code, Code::denied);
    UnlockKey constant(command_source("echo secret", a_minute));
    const auto recipe = constant.begin();
    ASSERT_TRUE(recipe);
    const auto settled = constant.settle(*recipe);
    ASSERT_TRUE(settled);
    EXPECT_TRUE(std::ranges::equal(
        *settled, *UnlockKey(command_source("echo secret", a_minute)).by(*recipe)));
}

TEST_F(UnlockKeyTest, TheKindOfSourceMustFit) {
    UnlockKey file_key(key_file_source(file(std::string(32, 'k'), 0600)));
    UnlockKey passphrase_key(command_source("echo secret", a_minute));
    UnlockRecipe scrypt;
    scrypt.kdf = Kdf::scrypt;
    scrypt.cost = {15, 8, 1};
    EXPECT_EQ(file_key.by(scrypt).error().code, Code::wrong_key);
    EXPECT_EQ(passphrase_key.by(UnlockRecipe{}).error().code, Code::wrong_key);
}

TEST_F(UnlockKeyTest, ANewRecipeHasAFreshSalt) {
    UnlockKey unlock_key(command_source("echo secret", a_minute));
    const auto first = unlock_key.begin();
    const auto second = unlock_key.begin();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->kdf, Kdf::scrypt);
    EXPECT_TRUE(acceptable(first->cost));
    EXPECT_NE(first->salt, second->salt);
}

}  // namespace
}  // namespace kms::agent
