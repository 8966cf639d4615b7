// SHA-256 (FIPS 180-4) of what comes in pieces.
#pragma once

#include <array>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "crypto/ossl.hpp"

namespace kms {

constexpr std::size_t sha256_length = 32;
using Sha256Digest = std::array<Byte, sha256_length>;

// Move-only. Not for threads.
class Sha256 {
  public:
    static Result<Sha256> start();

    Status add(ByteView piece);

    // Nothing comes after it.
    Result<Sha256Digest> finish();

  private:
    explicit Sha256(ossl::Owned<EVP_MD_CTX> context) : context_(std::move(context)) {}

    ossl::Owned<EVP_MD_CTX> context_;
};

}  // namespace kms
