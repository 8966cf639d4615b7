// The accumulated test of the XAES-256-GCM document (C2SP): inputs from one SHAKE-128 stream, every
// ciphertext hashed into another.
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>

#include "crypto/xaes.hpp"
#include "vectors.hpp"

namespace kms::test {

constexpr const char* accumulated_10_000 =
    "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939";
constexpr const char* accumulated_1_000_000 =
    "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15";

using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

inline Digest shake_128() {
    Digest digest(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    EXPECT_EQ(EVP_DigestInit_ex(digest.get(), EVP_shake128(), nullptr), 1);
    return digest;
}

// SHAKE-128 of the empty string. OpenSSL before 3.3 gives it in one piece only.
class Stream {
  public:
    explicit Stream(std::size_t size) : bytes_(size) {
        EXPECT_EQ(EVP_DigestFinalXOF(shake_128().get(), bytes_.data(), size), 1);
    }
    ByteView take(std::size_t size) {
        used_ += size;
        EXPECT_LE(used_, bytes_.size());
        return ByteView(bytes_).subspan(used_ - size, size);
    }
    ByteView take_string() { return take(take(1)[0]); }

  private:
    std::vector<Byte> bytes_;
    std::size_t used_ = 0;
};

// Seals and opens every message; the hash in hex.
inline std::string accumulated(std::size_t iterations) {
    Stream stream(iterations * 320 + 2048);
    const Digest digest = shake_128();
    std::vector<Byte> sealed;
    std::vector<Byte> opened;
    for (std::size_t i = 0; i < iterations; ++i) {
        auto key = XaesKey::create(stream.take(32));
        const ByteView nonce = stream.take(24);
        const ByteView plaintext = stream.take_string();
        const ByteView data = stream.take_string();
        sealed.resize(plaintext.size() + 16);
        opened.resize(plaintext.size());
        if (!key || !key->seal_with_nonce(nonce, {data, {}}, plaintext, sealed) ||
            !key->open(nonce, {data, {}}, sealed, opened) ||
            !std::equal(opened.begin(), opened.end(), plaintext.begin())) {
            ADD_FAILURE() << "iteration " << i;
            return {};
        }
        EVP_DigestUpdate(digest.get(), sealed.data(), sealed.size());
    }
    std::vector<Byte> hash(32);
    EVP_DigestFinalXOF(digest.get(), hash.data(), hash.size());
    return to_hex(hash);
}

}  // namespace kms::test
