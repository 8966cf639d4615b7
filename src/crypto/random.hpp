// Random bytes, never shared across a fork.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms {

// Bytes of a new key, from OpenSSL's private generator.
Status random_secret(ByteSpan out);

// Bytes that everybody may see: salts, identifiers.
Status random_public(ByteSpan out);

// Rises in every forked child. State that was drawn at random under another epoch belongs to
// another process and must be thrown away.
unsigned process_epoch();

// Random bytes drawn in blocks, since one call of OpenSSL's generator costs more than sealing a
// short value. Empty until first used; emptied by a fork. Not for threads.
class RandomPool {
  public:
    Status take(ByteSpan out);
    void wipe() noexcept;

  private:
    static constexpr std::size_t block = 1024;
    SecretArray<block> bytes_;
    std::size_t used_ = block;
    unsigned epoch_ = 0;
};

}  // namespace kms
