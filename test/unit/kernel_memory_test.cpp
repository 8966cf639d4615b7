// What processes of one user leave for each other. test/agent/remember_test.py has the rest:
// rights, and a kernel that refuses.
#include "agent/keyring/kernel_memory.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "agent/keyring/unlock_key.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

using std::chrono::seconds;

class KernelMemoryTest : public testing::Test {
  protected:
    KernelMemoryTest() {
        recipe_.kdf = Kdf::scrypt;
        recipe_.cost = {15, 8, 1};
        EXPECT_TRUE(random_public(recipe_.salt));
        EXPECT_TRUE(random_secret(unlock_key_.span()));
    }

    void SetUp() override {
        memory_.keep(recipe_, unlock_key_.view());
        if (!complaint_.empty()) {
            GTEST_SKIP() << complaint_;
        }
    }

    void TearDown() override { memory_.drop(recipe_); }

    KernelMemory memory(seconds time) {
        return KernelMemory({time, "/nonexistent", seconds(60)},
                            [this](std::string_view text) { complaint_ += text; });
    }

    bool holds(ByteView unlock_key) {
        return std::ranges::equal(memory_.recall(recipe_).view(), unlock_key);
    }

    std::string complaint_;
    KernelMemory memory_ = memory(seconds(60));
    UnlockRecipe recipe_;
    SecretArray<unlock_key_length> unlock_key_;
};

TEST_F(KernelMemoryTest, GivesBackWhatItKeeps) {
    EXPECT_TRUE(holds(unlock_key_.view()));
    SecretArray<unlock_key_length> other;
    memory_.keep(recipe_, other.view());
    EXPECT_TRUE(holds(other.view()));
    memory_.drop(recipe_);
    EXPECT_TRUE(holds({}));
    memory_.drop(recipe_);
    EXPECT_EQ(complaint_, "");
}

TEST_F(KernelMemoryTest, TellsRecipesApart) {
    UnlockRecipe other = recipe_;
    other.salt[31] ^= 1;
    EXPECT_TRUE(memory_.recall(other).empty());
    for (unsigned ScryptCost::*part : {&ScryptCost::log2_n, &ScryptCost::r, &ScryptCost::p}) {
        other = recipe_;
        ++(other.cost.*part);
        EXPECT_TRUE(memory_.recall(other).empty());
    }
}

TEST_F(KernelMemoryTest, KeepsForItsTime) {
    memory(seconds(1)).keep(recipe_, unlock_key_.view());
    EXPECT_TRUE(holds(unlock_key_.view()));
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    EXPECT_TRUE(holds({}));
    EXPECT_EQ(complaint_, "");
}

TEST_F(KernelMemoryTest, OutlivesAProcess) {
    memory_.drop(recipe_);
    const pid_t pid = fork();
    if (pid == 0) {
        memory_.keep(recipe_, unlock_key_.view());
        _exit(0);
    }
    waitpid(pid, nullptr, 0);
    EXPECT_TRUE(holds(unlock_key_.view()));
}

TEST_F(KernelMemoryTest, SparesAnUnlockKeyItsSource) {
    UnlockKey unlock_key(command_source("exit 1", seconds(60)), memory(seconds(60)));
    EXPECT_TRUE(unlock_key.remembers(recipe_));
    const auto recalled = unlock_key.by(recipe_);
    ASSERT_TRUE(recalled);
    EXPECT_TRUE(std::ranges::equal(*recalled, unlock_key_.view()));
    unlock_key.forget();
    EXPECT_FALSE(unlock_key.remembers(recipe_));
    EXPECT_TRUE(holds({}));
    EXPECT_FALSE(unlock_key.by(recipe_));
}

TEST_F(KernelMemoryTest, IsNotAskedForAKeyFile) {
    UnlockRecipe recipe = recipe_;
    recipe.kdf = Kdf::key_file;
    UnlockKey unlock_key(command_source("echo secret", seconds(60)), memory(seconds(60)));
    EXPECT_FALSE(unlock_key.remembers(recipe));
    EXPECT_EQ(unlock_key.by(recipe).error().code, Code::wrong_key);
}

}  // namespace
}  // namespace kms::agent
