// AES-CMAC (SP 800-38B) with one cached context.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/ossl.hpp"

namespace kms {

constexpr std::size_t cmac_length = 16;

// Stays where it is. Not for threads.
class Cmac {
  public:
    // `key`: 16, 24 or 32 bytes (else Code::invalid).
    Status set_key(ByteView key);

    // One message: start, its parts, finish. False: OpenSSL failed.
    bool start();
    bool add(ByteView part);
    bool finish(ByteSpan out);  // 16 bytes

    // Overwrites the key and what is left of the last message: no allocation, no lock.
    void wipe() noexcept;

  private:
    ossl::Owned<EVP_MAC_CTX> context_;
    SecretArray<32> key_;
    std::size_t key_length_ = 0;
};

}  // namespace kms
