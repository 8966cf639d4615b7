#include "agent/keyring/keyring_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/keyring/keyring_access.hpp"
#include "agent/keyring/keyring_file_store.hpp"
#include "agent/keyring/private_file.hpp"

namespace kms::agent {
namespace {

namespace fs = std::filesystem;

constexpr milliseconds at_once{0};

class KeyringFileTest : public testing::Test {
  protected:
    KeyringFileTest() {
        std::string name = (fs::temp_directory_path() / "keyring_file_XXXXXX").string();
        folder_ = mkdtemp(name.data());
    }
    ~KeyringFileTest() override { fs::remove_all(folder_); }

    std::string path(const char* name = "ring") const { return folder_ / name; }

    void write_raw(const std::string& file, std::string_view text, fs::perms mode) const {
        std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
        fs::permissions(file, mode);
    }

    std::size_t files() const {
        return static_cast<std::size_t>(
            std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
    }

    // A keyring with one key, whose key file is beside it; an earlier keyring's is used again.
    KeyringAccess new_keyring() {
        EXPECT_TRUE(fs::exists(path("unlock_key")) || make_key_file(path("unlock_key")));
        UnlockKey unlock_key(key_file_source(path("unlock_key")));
        const auto recipe = unlock_key.begin();
        KeyringAccess access(path(), std::move(unlock_key));
        EXPECT_TRUE(access.create(*recipe));
        EXPECT_TRUE(add_key(access, "a"));
        return access;
    }

    KeyringAccess same_keyring(const char* unlock_key = "unlock_key") {
        return KeyringAccess(path(), UnlockKey(key_file_source(path(unlock_key))));
    }

    static Result<KeyringHeader> add_key(KeyringAccess& access, std::string_view key) {
        return access.update(
            [&](const KeyringHeader&, Keyring& keyring) -> Status {
                KMS_TRY(keyring.create(key, {}, 0));
                return {};
            },
            at_once);
    }

    fs::path folder_;
};

TEST_F(KeyringFileTest, CreateNeverReplaces) {
    const KeyringFile file(path());
    ASSERT_TRUE(file.create(bytes_of("one")));
    EXPECT_EQ(file.create(bytes_of("two")).error().code, Code::invalid);
    EXPECT_EQ(text_of(file.read()->bytes.view()), "one");
    EXPECT_EQ(fs::status(path()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    EXPECT_EQ(files(), 1u);
}

TEST_F(KeyringFileTest, ADanglingLinkIsNotReplaced) {
    fs::create_symlink(path("nowhere"), path());
    EXPECT_EQ(KeyringFile(path()).create(bytes_of("one")).error().code, Code::invalid);
    EXPECT_EQ(KeyringFile(path()).read().error().code, Code::not_found);
}

TEST_F(KeyringFileTest, OnlyMode0600IsRead) {
    const KeyringFile file(path());
    for (const unsigned mode : {0600u, 0400u, 0640u, 0604u, 0660u, 0700u, 0601u, 04600u, 0666u}) {
        write_raw(path(), "x", static_cast<fs::perms>(mode));
        EXPECT_EQ(static_cast<bool>(file.read()), mode == 0600) << std::oct << mode;
        EXPECT_EQ(static_cast<bool>(file.lock(at_once)), mode == 0600) << std::oct << mode;
        fs::remove(path());
    }
}

TEST_F(KeyringFileTest, OnlyARegularFileIsRead) {
    EXPECT_EQ(KeyringFile(folder_).read().error().code, Code::denied);
    ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
    EXPECT_EQ(KeyringFile(path()).read().error().code, Code::denied);
    EXPECT_EQ(KeyringFile(path("missing")).read().error().code, Code::not_found);
    EXPECT_EQ(KeyringFile(path("missing")).lock(at_once).error().code, Code::not_found);
    EXPECT_EQ(KeyringFile(path() + "/under").read().error().code, Code::io);
}

TEST_F(KeyringFileTest, AFileOfAnotherUserIsRefused) {
    struct stat status {};
    status.st_mode = S_IFREG | 0600;
    status.st_uid = geteuid() + 1;
    EXPECT_EQ(static_cast<bool>(check_private(status, "f")), geteuid() == 0);
}

TEST_F(KeyringFileTest, AHugeFileIsRefused) {
    write_raw(path(), "", fs::perms(0600));
    fs::resize_file(path(), max_keyring_size + 1);
    EXPECT_EQ(KeyringFile(path()).read().error().code, Code::too_large);
}

TEST_F(KeyringFileTest, NoticesEveryReplacement) {
    const KeyringFile file(path());
    ASSERT_TRUE(file.create(bytes_of("one")));
    const auto first = file.read();
    EXPECT_TRUE(file.unchanged_since(first->mark));
    ASSERT_TRUE(file.lock(at_once)->replace(bytes_of("two")));
    EXPECT_FALSE(file.unchanged_since(first->mark));
    const auto second = file.read();
    EXPECT_EQ(text_of(second->bytes.view()), "two");
    fs::permissions(path(), fs::perms(0640));
    EXPECT_FALSE(file.unchanged_since(second->mark));
    fs::remove(path());
    EXPECT_FALSE(file.unchanged_since(second->mark));
}

TEST_F(KeyringFileTest, NothingBesideItIsRemovedOrOverwritten) {
    const KeyringFile file(path());
    write_raw(path("ring.new"), "somebody's", fs::perms(0600));
    ASSERT_TRUE(file.create(bytes_of("one")));
    ASSERT_TRUE(file.lock(at_once)->replace(bytes_of("two")));
    EXPECT_EQ(text_of(file.read()->bytes.view()), "two");
    EXPECT_EQ(text_of(KeyringFile(path("ring.new")).read()->bytes.view()), "somebody's");
    EXPECT_EQ(files(), 2u);
}

TEST_F(KeyringFileTest, AFailedReplacementLeavesTheOldState) {
    const std::string longest = path(std::string(255, 'r').c_str());
    write_raw(longest, "one", fs::perms(0600));
    const KeyringFile file(longest);
    EXPECT_EQ(file.lock(at_once)->replace(bytes_of("two")).error().code, Code::io);
    EXPECT_EQ(text_of(file.read()->bytes.view()), "one");
}

TEST_F(KeyringFileTest, ALinkStaysALink) {
    fs::create_directory(path("real"));
    ASSERT_TRUE(KeyringFile(path("real/ring")).create(bytes_of("one")));
    fs::create_symlink(path("real/ring"), path());
    ASSERT_TRUE(KeyringFile(path()).lock(at_once)->replace(bytes_of("two")));
    EXPECT_TRUE(fs::is_symlink(path()));
    EXPECT_EQ(text_of(KeyringFile(path("real/ring")).read()->bytes.view()), "two");
}

// Read, locked and replaced is one file, whatever becomes of the path behind the lock.
TEST_F(KeyringFileTest, ATurnedLinkTurnsNoWriter) {
    ASSERT_TRUE(KeyringFile(path("one")).create(bytes_of("one")));
    ASSERT_TRUE(KeyringFile(path("two")).create(bytes_of("two")));
    fs::create_symlink(path("one"), path());
    auto lock = KeyringFile(path()).lock(at_once);
    ASSERT_TRUE(lock);
    fs::remove(path());
    fs::create_symlink(path("two"), path());
    EXPECT_EQ(text_of(lock->read()->view()), "one");
    ASSERT_TRUE(lock->replace(bytes_of("next")));
    EXPECT_EQ(text_of(KeyringFile(path("one")).read()->bytes.view()), "next");
    EXPECT_EQ(text_of(KeyringFile(path("two")).read()->bytes.view()), "two");
}

// A backup that was put there while the lock was held may be the only file that has its keys.
TEST_F(KeyringFileTest, AFileInTheFilesPlaceStays) {
    const KeyringFile file(path());
    ASSERT_TRUE(file.create(bytes_of("one")));
    ASSERT_TRUE(KeyringFile(path("backup")).create(bytes_of("of before")));
    auto lock = file.lock(at_once);
    ASSERT_TRUE(lock);
    fs::rename(path("backup"), path());
    EXPECT_EQ(lock->replace(bytes_of("two")).error().code, Code::denied);
    EXPECT_EQ(text_of(file.read()->bytes.view()), "of before");
    fs::remove(path());
    EXPECT_EQ(lock->replace(bytes_of("two")).error().code, Code::denied);
    EXPECT_FALSE(file.exists());
    EXPECT_TRUE(fs::is_empty(fs::path(path()).parent_path()));
}

TEST_F(KeyringFileTest, AFolderInTheFoldersPlaceGetsNoFile) {
    fs::create_directory(path("folder"));
    fs::create_directory(path("another"));
    const KeyringFile file(path("folder/ring"));
    ASSERT_TRUE(file.create(bytes_of("one")));
    auto lock = file.lock(at_once);
    ASSERT_TRUE(lock);
    fs::rename(path("folder"), path("moved"));
    fs::create_directory_symlink(path("another"), path("folder"));
    ASSERT_TRUE(lock->replace(bytes_of("two")));
    EXPECT_TRUE(fs::is_empty(path("another")));
    EXPECT_EQ(text_of(KeyringFile(path("moved/ring")).read()->bytes.view()), "two");
}

TEST_F(KeyringFileTest, WhatChangesWhileAWriterWaitsIsLookedAtAgain) {
    const KeyringFile file(path());
    ASSERT_TRUE(file.create(bytes_of("one")));
    std::thread other;
    {
        const auto held = file.lock(at_once);
        ASSERT_TRUE(held);
        other = std::thread(
            [&] { EXPECT_EQ(file.lock(milliseconds(5000)).error().code, Code::denied); });
        std::this_thread::sleep_for(milliseconds(50));
        fs::permissions(path(), fs::perms(0644));
    }
    other.join();
}

TEST_F(KeyringFileTest, WritersTakeTurns) {
    const KeyringFile file(path());
    ASSERT_TRUE(file.create(bytes_of("one")));
    auto held = file.lock(at_once);
    ASSERT_TRUE(held);
    const auto refused = file.lock(milliseconds(30));
    EXPECT_EQ(refused.error().code, Code::unavailable);
    EXPECT_NE(refused.error().text.find("locked by another process"), std::string::npos);
}

TEST_F(KeyringFileTest, AWaitingWriterLocksTheNewFile) {
    const KeyringFile file(path());
    ASSERT_TRUE(file.create(bytes_of("one")));
    std::thread other;
    {
        auto held = file.lock(at_once);
        ASSERT_TRUE(held);
        other = std::thread([&] {
            auto lock = file.lock(milliseconds(5000));
            ASSERT_TRUE(lock);
            EXPECT_EQ(text_of(file.read()->bytes.view()), "two");
            EXPECT_TRUE(lock->replace(bytes_of("three")));
        });
        std::this_thread::sleep_for(milliseconds(50));
        ASSERT_TRUE(held->replace(bytes_of("two")));
    }
    other.join();
    EXPECT_EQ(text_of(file.read()->bytes.view()), "three");
}

TEST_F(KeyringFileTest, GenerationsRise) {
    KeyringAccess access = new_keyring();
    EXPECT_EQ(access.load()->header.generation, 2u);
    EXPECT_EQ(add_key(access, "b")->generation, 3u);
    EXPECT_EQ(access.load()->keyring.keys().size(), 2u);
}

TEST_F(KeyringFileTest, AFailedChangeWritesNothing) {
    KeyringAccess access = new_keyring();
    const auto before = access.load();
    EXPECT_EQ(add_key(access, "a").error().code, Code::invalid);
    EXPECT_TRUE(access.file().unchanged_since(before->mark));
}

TEST_F(KeyringFileTest, AChangedKeyFileIsReadAgain) {
    KeyringAccess access = new_keyring();
    ASSERT_TRUE(access.load());
    KeyringAccess administrator = same_keyring();
    ASSERT_TRUE(make_key_file(path("new")));
    UnlockKey new_unlock_key(key_file_source(path("new")));
    const auto recipe = new_unlock_key.begin();
    ASSERT_TRUE(administrator.rekey(new_unlock_key, *recipe, at_once));
    EXPECT_EQ(access.load().error().code, Code::wrong_key);
    fs::rename(path("new"), path("unlock_key"));
    EXPECT_TRUE(access.load());
}

class StoreTest : public KeyringFileTest {
  protected:
    static constexpr milliseconds pause{100};

    // Waits out the pause after a failed attempt.
    static void later(KeyringFileStore& store) {
        store.refresh();
        std::this_thread::sleep_for(pause + milliseconds(20));
        store.refresh();
    }
    template <typename T>
    static Code code_of(const Result<T>& result) {
        return result ? Code::io : result.error().code;
    }
};

TEST_F(StoreTest, SeesWhatOthersChange) {
    KeyringAccess administrator = new_keyring();
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(store.open());
    EXPECT_EQ(store.describe(bytes_of("b")).error().code, Code::not_found);
    ASSERT_TRUE(add_key(administrator, "b"));
    store.refresh();
    EXPECT_TRUE(store.describe(bytes_of("b")));
}

TEST_F(StoreTest, MakesNoChangeForAClientThatHasGone) {
    new_keyring();
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(store.open());
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    store.answer_to(writer.get());
    EXPECT_TRUE(store.create(bytes_of("b"), {}));
    reader = UniqueFd();
    EXPECT_EQ(code_of(store.create(bytes_of("c"), {})), Code::unavailable);
    EXPECT_EQ(store.describe(bytes_of("c")).error().code, Code::not_found);
}

class Reply : public ReplyBody {
  public:
    Result<ByteSpan> allot(std::size_t length, const KeyVersion* sealed_by) override {
        version = sealed_by == nullptr ? 0 : sealed_by->version;
        return body.extend(length);
    }

    std::uint32_t version = 0;
    SecretBytes body;
};

TEST_F(StoreTest, AKeyInUseIsTheOneThatOthersChange) {
    KeyringAccess administrator = new_keyring();
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(store.open());
    const auto change_others = [&](const auto& change) {
        ASSERT_TRUE(administrator.update(
            [&](const KeyringHeader&, Keyring& keyring) -> Status {
                KMS_TRY(change(keyring));
                return {};
            },
            at_once));
        store.refresh();
    };
    Reply sealed;
    ASSERT_TRUE(store.encrypt(bytes_of("a"), {}, bytes_of("x"), sealed));
    change_others([](Keyring& keyring) { return keyring.rotate("a", 0); });
    Reply again;
    ASSERT_TRUE(store.encrypt(bytes_of("a"), {}, bytes_of("x"), again));
    EXPECT_EQ(again.version, 2u);
    Reply opened;
    ASSERT_TRUE(store.decrypt(bytes_of("a"), {}, sealed.body.view(), opened));
    EXPECT_EQ(text_of(opened.body.view()), "x");
    change_others([](Keyring& keyring) {
        return keyring.change_state("a", 1, wire::VersionState::disabled);
    });
    const Status refused = store.decrypt(bytes_of("a"), {}, sealed.body.view(), opened);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::disabled);
}

TEST_F(StoreTest, ChangesWhatOthersSee) {
    KeyringAccess administrator = new_keyring();
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(store.open());
    ASSERT_TRUE(add_key(administrator, "b"));
    EXPECT_EQ(store.rotate(bytes_of("b"), 0)->version, 2u);
    EXPECT_TRUE(store.create(bytes_of("c"), {}));
    EXPECT_EQ(store.create(bytes_of("c"), {}).error().code, Code::invalid);
    EXPECT_TRUE(store.change_version(bytes_of("c"), 1, wire::VersionState::destroyed));
    EXPECT_EQ(store.get(bytes_of("c"), {}).error().code, Code::disabled);
    EXPECT_EQ(administrator.load()->keyring.keys().size(), 3u);
    EXPECT_EQ(administrator.load()->header.generation, 6u);
}

TEST_F(StoreTest, FailsClosedUntilTheFileIsRight) {
    new_keyring();
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(store.open());
    fs::rename(path(), path("aside"));
    store.refresh();
    EXPECT_EQ(code_of(store.describe(bytes_of("a"))), Code::unavailable);
    EXPECT_EQ(code_of(store.create(bytes_of("b"), {})), Code::unavailable);
    write_raw(path(), "not a keyring", fs::perms(0600));
    later(store);
    EXPECT_EQ(code_of(store.describe(bytes_of("a"))), Code::unavailable);
    fs::rename(path("aside"), path());
    later(store);
    EXPECT_TRUE(store.describe(bytes_of("a")));
}

TEST_F(StoreTest, RefusesAnOlderStateThatWasChangedSince) {
    KeyringAccess administrator = new_keyring();
    fs::copy_file(path(), path("older"));
    ASSERT_TRUE(add_key(administrator, "b"));
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(store.open());
    fs::copy_file(path(), path("newer"));
    fs::rename(path("older"), path());
    ASSERT_TRUE(add_key(administrator, "c"));
    ASSERT_TRUE(add_key(administrator, "d"));
    EXPECT_EQ(code_of(store.rotate(bytes_of("a"), 0)), Code::unavailable);
    store.refresh();
    EXPECT_EQ(code_of(store.describe(bytes_of("a"))), Code::unavailable);
    later(store);
    EXPECT_EQ(code_of(store.describe(bytes_of("a"))), Code::unavailable);
    fs::rename(path("newer"), path());
    later(store);
    EXPECT_TRUE(store.describe(bytes_of("b")));
}

TEST_F(StoreTest, RefusesAnOlderStateAndAnotherKeyring) {
    KeyringAccess administrator = new_keyring();
    fs::copy_file(path(), path("older"));
    KeyringFileStore store(same_keyring(), pause);
    ASSERT_TRUE(add_key(administrator, "b"));
    ASSERT_TRUE(store.open());
    fs::copy_file(path(), path("newer"));
    fs::rename(path("older"), path());
    EXPECT_EQ(code_of(store.rotate(bytes_of("a"), 0)), Code::unavailable);
    store.refresh();
    EXPECT_EQ(code_of(store.describe(bytes_of("a"))), Code::unavailable);
    fs::rename(path("newer"), path());
    later(store);
    EXPECT_TRUE(store.describe(bytes_of("b")));
    fs::remove(path());
    new_keyring();
    store.refresh();
    const auto refused = store.describe(bytes_of("a"));
    EXPECT_EQ(code_of(refused), Code::unavailable);
    EXPECT_NE(refused.error().text.find("another keyring"), std::string::npos);
}

}  // namespace
}  // namespace kms::agent
