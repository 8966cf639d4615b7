// What is left of a wiped key in memory. In the plain build, whose memory is small enough to
// search.
#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>

#include "crypto/kdf.hpp"
#include "crypto/sealed.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

// Masked, so that the search does not find the pattern itself.
constexpr Byte mask = 0xA5;

bool matches(const volatile Byte* place, const Bytes& pattern) {
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if ((place[i] ^ mask) != pattern[i]) {
            return false;
        }
    }
    return true;
}

// Occurrences in the memory that this process may write.
int occurrences(const Bytes& pattern) {
    int found = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t begin = 0;
        std::uintptr_t end = 0;
        char flags[5] = {};
        std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end, flags);
        if (flags[0] != 'r' || flags[1] != 'w') {
            continue;
        }
        for (std::uintptr_t at = begin; at + pattern.size() <= end; ++at) {
            found += matches(reinterpret_cast<const volatile Byte*>(at), pattern);
        }
    }
    return found;
}

// A half, since AES-SIV's two keys lie apart. Its own frame: copies on the stack are cleansed.
[[gnu::noinline]] Bytes masked_subkey(const AlgorithmInfo& info, ByteView data_key) {
    SecretBytes subkey(info.key_length);
    const bool siv = info.suite == Suite::aes_siv;
    EXPECT_TRUE(
        derive_subkey(data_key, siv ? "kms/1 siv" : "kms/1 seal", info.name, subkey.span()));
    Bytes pattern(siv ? 32 : info.key_length);
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        pattern[i] = static_cast<Byte>(subkey.data()[i] ^ mask);
    }
    return pattern;
}

class WipeSlow : public testing::TestWithParam<Algorithm> {};

INSTANTIATE_TEST_SUITE_P(Every, WipeSlow,
                         testing::Values(Algorithm::xaes_256_gcm, Algorithm::aes_256_siv,
                                         Algorithm::aes_128_gcm, Algorithm::aes_192_gcm,
                                         Algorithm::aes_256_gcm));

TEST_P(WipeSlow, NoSubkeyIsLeftInMemory) {
    const AlgorithmInfo& info = info_of(GetParam());
    const Bytes data_key = test::pattern(info.key_length, 77);
    const Bytes pattern = masked_subkey(info, data_key);
    EXPECT_EQ(occurrences(pattern), 0);
    auto key = SealingKey::from_data_key(GetParam(), data_key);
    ASSERT_TRUE(key);
    Bytes sealed(key->sealed_size(10));
    Bytes opened(10);
    ASSERT_TRUE(key->seal(test::pattern(10), {}, sealed));
    ASSERT_TRUE(key->open(sealed, {}, opened));
    EXPECT_GE(occurrences(pattern), 1);
    key->wipe();
    EXPECT_EQ(occurrences(pattern), 0);
}

}  // namespace
}  // namespace kms
