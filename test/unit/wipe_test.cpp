// wipe() as a signal handler may call it.
#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <sys/time.h>

#include <atomic>
#include <csignal>

#include "crypto/random.hpp"
#include "crypto/sealed.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

// Of AddressSanitizer's run-time library; g++ has no header for it.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             std::size_t),
                                                         void (*free_hook)(const volatile void*));

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

std::atomic<unsigned> allocations{0};

void count_malloc(const volatile void*, std::size_t) {
    ++allocations;
}
void count_free(const volatile void*) {
    ++allocations;
}

// The calls of malloc and free, OpenSSL's included, that `action` makes. Hooks cannot be removed.
template <typename Action>
unsigned allocations_of(Action action) {
    [[maybe_unused]] static const int hooked =
        __sanitizer_install_malloc_and_free_hooks(count_malloc, count_free);
    const unsigned before = allocations;
    action();
    return allocations - before;
}

class Wipe : public testing::TestWithParam<Algorithm> {
  protected:
    SealingKey make_key() {
        auto key =
            SealingKey::from_data_key(GetParam(), test::pattern(info_of(GetParam()).key_length));
        EXPECT_TRUE(key);
        return std::move(*key);
    }

    const Bytes plaintext = test::pattern(50);
    const Bytes context = test::pattern(20);
};

INSTANTIATE_TEST_SUITE_P(Every, Wipe,
                         testing::Values(Algorithm::xaes_256_gcm, Algorithm::aes_256_siv,
                                         Algorithm::aes_128_gcm, Algorithm::aes_192_gcm,
                                         Algorithm::aes_256_gcm));

TEST(WipeHook, SeesAllocations) {
    EXPECT_GE(allocations_of([] { Bytes(100).clear(); }), 2u);
    EXPECT_GE(allocations_of([] { OPENSSL_free(OPENSSL_malloc(100)); }), 2u);
}

TEST_P(Wipe, NeitherAllocatesNorFrees) {
    SealingKey unused = make_key();
    EXPECT_EQ(allocations_of([&] { unused.wipe(); }), 0u);
    SealingKey key = make_key();
    Bytes sealed(key.sealed_size(plaintext.size()));
    Bytes opened(plaintext.size());
    ASSERT_TRUE(key.seal(plaintext, context, sealed));
    ASSERT_TRUE(key.open(sealed, context, opened));
    EXPECT_EQ(allocations_of([&] { key.wipe(); }), 0u);
    EXPECT_EQ(allocations_of([&] { key.wipe(); }), 0u);
}

TEST_P(Wipe, ACallInATightLoopNeitherAllocatesNorFrees) {
    SealingKey key = make_key();
    Bytes sealed(key.sealed_size(plaintext.size()));
    Bytes opened(plaintext.size());
    ASSERT_TRUE(key.seal(plaintext, context, sealed));
    ASSERT_TRUE(key.open(sealed, context, opened));
    const auto loop = [&] {
        for (int i = 0; i < 20; ++i) {
            EXPECT_TRUE(key.seal(plaintext, context, sealed));
            EXPECT_TRUE(key.open(sealed, context, opened));
        }
    };
    EXPECT_EQ(allocations_of(loop), 0u);
}

TEST_P(Wipe, NothingCanBeSealedOrOpenedAfterwards) {
    SealingKey key = make_key();
    Bytes sealed(key.sealed_size(plaintext.size()));
    Bytes opened(plaintext.size(), 0xEE);
    ASSERT_TRUE(key.seal(plaintext, context, sealed));
    const Bytes kept = sealed;
    key.wipe();
    EXPECT_CODE(key.seal(plaintext, context, sealed), Code::internal);
    EXPECT_TRUE(test::all_zero(sealed));
    EXPECT_CODE(key.open(kept, context, opened), Code::internal);
    EXPECT_TRUE(test::all_zero(opened));
    key = make_key();
    EXPECT_TRUE(key.open(kept, context, opened));
    EXPECT_EQ(opened, plaintext);
}

TEST_P(Wipe, AMovedFromKeyMayBeWiped) {
    SealingKey key = make_key();
    const SealingKey moved = std::move(key);
    key.wipe();
    EXPECT_EQ(moved.algorithm(), GetParam());
}

SealingKey* interrupted_key = nullptr;

void wipe_interrupted_key(int) {
    interrupted_key->wipe();
}

// Seals and opens until a signal's handler has wiped the key. Every value that was given out before
// must be a good one.
TEST_P(Wipe, ASignalInTheMiddleGivesNoUsableAnswer) {
    const auto old_handler = signal(SIGALRM, wipe_interrupted_key);
    for (int round = 0; round < 150; ++round) {
        SealingKey key = make_key();
        SealingKey checker = make_key();
        interrupted_key = &key;
        Bytes sealed(key.sealed_size(plaintext.size()));
        Bytes opened(plaintext.size());
        const itimerval soon{{}, {0, 1 + round}};
        setitimer(ITIMER_REAL, &soon, nullptr);
        Status done;
        while (true) {
            done = key.seal(plaintext, context, sealed);
            if (!done) {
                break;
            }
            ASSERT_TRUE(checker.open(sealed, context, opened));
            done = key.open(sealed, context, opened);
            if (!done) {
                break;
            }
            ASSERT_EQ(opened, plaintext);
        }
        EXPECT_CODE(done, Code::internal);
    }
    signal(SIGALRM, old_handler);
}

}  // namespace
}  // namespace kms
