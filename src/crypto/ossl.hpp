// The only place that frees OpenSSL's objects, and what every user of its ciphers needs.
#pragma once

#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <memory>
#include <string_view>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace kms::ossl {

struct Free {
    void operator()(EVP_CIPHER* p) const { EVP_CIPHER_free(p); }
    void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
    void operator()(EVP_MAC* p) const { EVP_MAC_free(p); }
    void operator()(EVP_MAC_CTX* p) const { EVP_MAC_CTX_free(p); }
    void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
    void operator()(EVP_KDF* p) const { EVP_KDF_free(p); }
    void operator()(EVP_KDF_CTX* p) const { EVP_KDF_CTX_free(p); }
};

template <typename T>
using Owned = std::unique_ptr<T, Free>;

// The longest piece of data that goes through one call: EVP counts in int.
constexpr std::size_t max_length = std::size_t{1} << 30;

// Code::internal, with OpenSSL's last reason. Empties its queue of errors, which others in this
// process read too.
Error failure(std::string_view what);

enum class Mode { ecb, ctr, gcm };
enum class Direction { decrypt, encrypt };

// AES without padding under a key of 16, 24 or 32 bytes (else Code::invalid).
Result<Owned<EVP_CIPHER_CTX>> aes(Mode mode, Direction direction, ByteView key);

// Replaces the key by another of the same length. Neither allocates nor locks.
bool set_key(EVP_CIPHER_CTX* context, ByteView key);

// Overwrites the key schedule with that of a zero key. Neither allocates nor locks; takes nullptr.
void wipe_key(EVP_CIPHER_CTX* context) noexcept;

// All of `in`, at most max_length, to `out` of the same size; nothing where it is empty, which EVP
// would take for additional data.
bool transform(EVP_CIPHER_CTX* context, ByteView in, ByteSpan out);

}  // namespace kms::ossl
