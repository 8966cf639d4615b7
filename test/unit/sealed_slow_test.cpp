// The largest values. They take a gigabyte of memory.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crypto/sealed.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

// Pages that cost nothing until they are written.
class Pages {
  public:
    explicit Pages(std::size_t size) : size_(size) {
        void* place = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        EXPECT_NE(place, MAP_FAILED);
        data_ = static_cast<Byte*>(place);
    }
    ~Pages() { munmap(data_, size_); }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    ByteSpan first(std::size_t size) { return {data_, size}; }

  private:
    Byte* data_ = nullptr;
    std::size_t size_;
};

bool enough_memory() {
    const auto free_pages = static_cast<std::size_t>(sysconf(_SC_AVPHYS_PAGES));
    return free_pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) > max_sealed_length * 3 / 2;
}

class SealedSlow : public testing::TestWithParam<Algorithm> {};

INSTANTIATE_TEST_SUITE_P(Every, SealedSlow,
                         testing::Values(Algorithm::xaes_256_gcm, Algorithm::aes_256_siv,
                                         Algorithm::aes_256_gcm));

// Opened in place, at the front of the ciphertext, to get by with the memory of one value.
TEST_P(SealedSlow, OneGibibyteAndNoByteMore) {
    if (!enough_memory()) {
        GTEST_SKIP() << "not enough free memory";
    }
    auto key = SealingKey::from_data_key(GetParam(), test::pattern(info_of(GetParam()).key_length));
    ASSERT_TRUE(key);
    const std::size_t most = max_sealed_length - key->sealed_size(0);
    Pages plaintext(most + 1);
    Pages sealed(max_sealed_length + 1);
    const std::size_t body =
        9 + info_of(GetParam()).nonce_length + (GetParam() == Algorithm::aes_256_siv ? 16 : 0);
    ASSERT_TRUE(key->seal(plaintext.first(most), {}, sealed.first(max_sealed_length)));
    const ByteSpan opened = sealed.first(max_sealed_length).subspan(body, most);
    ASSERT_TRUE(key->open(sealed.first(max_sealed_length), {}, opened));
    EXPECT_TRUE(test::all_zero(opened));
}

TEST_P(SealedSlow, MoreIsTooLarge) {
    auto key = SealingKey::from_data_key(GetParam(), test::pattern(info_of(GetParam()).key_length));
    ASSERT_TRUE(key);
    const std::size_t more = max_sealed_length - key->sealed_size(0) + 1;
    Pages plaintext(more);
    Pages sealed(max_sealed_length + 1);
    EXPECT_CODE(key->seal(plaintext.first(more), {}, sealed.first(1)), Code::too_large);
    sealed.first(1)[0] = static_cast<Byte>(*info_of(GetParam()).suite);
    std::ranges::copy(key->tag(), sealed.first(9).subspan(1).begin());
    EXPECT_CODE(key->open(sealed.first(max_sealed_length + 1), {}, plaintext.first(1)),
                Code::too_large);
}

}  // namespace
}  // namespace kms
