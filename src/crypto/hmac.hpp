// HMAC (FIPS 198-1) with SHA-256 and SHA-512, of OpenSSL.
#pragma once

#include <openssl/evp.h>

#include "base/bytes.hpp"

namespace kms {

struct Digest {
    const char* name;
    std::size_t length;
};
constexpr Digest sha256_digest = {"SHA256", 32};
constexpr Digest sha512_digest = {"SHA512", 64};
constexpr std::size_t most_digest = 64;

// OpenSSL's context of the thread's own, kept from one use to the next: its look-ups for a new one
// cost more than the work. One at a time for a digest. No key is left in it.
class Hmac {
  public:
    explicit Hmac(const Digest& digest);
    ~Hmac();
    Hmac(const Hmac&) = delete;
    Hmac& operator=(const Hmac&) = delete;

    // Each begins anew, goes on, or ends: false where OpenSSL fails (ossl::failure says why).
    bool set_key(ByteView key);
    bool add(ByteView part);
    bool finish(ByteSpan out);  // at least as long as the digest

  private:
    const Digest& digest_;
    EVP_MAC_CTX* context_;
};

}  // namespace kms
