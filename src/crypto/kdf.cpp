#include "crypto/kdf.hpp"

#include <openssl/core_names.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/secret.hpp"
#include "crypto/hmac.hpp"
#include "crypto/ossl.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

// OpenSSL takes empty strings, but not where they are null.
OSSL_PARAM octets(const char* name, ByteView bytes) {
    static constexpr Byte nothing = 0;
    const Byte* data = bytes.empty() ? &nothing : bytes.data();
    return OSSL_PARAM_construct_octet_string(name, const_cast<Byte*>(data), bytes.size());
}

constexpr std::array<Byte, most_digest> zeros{};

// RFC 5869 of OpenSSL's HMAC: its own HKDF looks everything up each time.
class Hkdf {
  public:
    explicit Hkdf(const Digest& digest) : digest_(digest), hmac_(digest) {}

    bool extract(ByteView salt, ByteView key, ByteSpan pseudorandom_key) {
        const ByteView used = salt.empty() ? ByteView(zeros).first(digest_.length) : salt;
        return hmac_.set_key(used) && hmac_.add(key) && hmac_.finish(pseudorandom_key);
    }

    bool expand(ByteView pseudorandom_key, ByteView info, ByteSpan out) {
        SecretArray<most_digest> block;
        ByteView before;
        for (Byte number = 1; !out.empty(); ++number) {
            const ByteSpan next = block.span().first(digest_.length);
            if (!hmac_.set_key(pseudorandom_key) || !hmac_.add(before) || !hmac_.add(info) ||
                !hmac_.add({&number, 1}) || !hmac_.finish(next)) {
                return false;
            }
            const std::size_t taken = std::min(next.size(), out.size());
            copy_bytes(next.first(taken), out);
            out = out.subspan(taken);
            before = next;
        }
        return true;
    }

  private:
    const Digest& digest_;
    Hmac hmac_;
};

Status check_lengths(const Digest& digest, ByteView key, ByteSpan out) {
    if (key.empty() || out.empty() || out.size() > 255 * digest.length) {
        return Error{Code::invalid, "HKDF cannot derive this many bytes from such a key"};
    }
    return {};
}

constexpr unsigned scrypt_most_log2_n = 30;

}  // namespace

Status hkdf_sha256(ByteView key, ByteView info, ByteSpan out) {
    return hkdf_sha256(key, {}, info, out);
}

Status hkdf_sha256(ByteView key, ByteView salt, ByteView info, ByteSpan out) {
    KMS_TRY(check_lengths(sha256_digest, key, out));
    Hkdf hkdf(sha256_digest);
    SecretArray<sha256_digest.length> pseudorandom_key;
    if (!hkdf.extract(salt, key, pseudorandom_key.span()) ||
        !hkdf.expand(pseudorandom_key.view(), info, out)) {
        return ossl::failure("HKDF");
    }
    return {};
}

Status hkdf_expand_sha512(ByteView key, ByteView info, ByteSpan out) {
    KMS_TRY(check_lengths(sha512_digest, key, out));
    if (!Hkdf(sha512_digest).expand(key, info, out)) {
        return ossl::failure("HKDF");
    }
    return {};
}

Status derive_subkey(ByteView key, std::string_view label, std::string_view algorithm,
                     ByteSpan out) {
    const std::string info = std::string(label) + ' ' + std::string(algorithm);
    return hkdf_sha256(key, bytes_of(info), out);
}

bool acceptable(const ScryptCost& cost) {
    return cost.log2_n >= 15 && cost.log2_n <= 20 && cost.r == 8 && cost.p >= 1 && cost.p <= 4;
}

Status scrypt(ByteView passphrase, ByteView salt, const ScryptCost& cost, ByteSpan out) {
    if (cost.log2_n < 1 || cost.log2_n > scrypt_most_log2_n || out.empty()) {
        return Error{Code::invalid, "an scrypt cost out of range"};
    }
    std::uint64_t n = std::uint64_t{1} << cost.log2_n;
    std::uint32_t r = cost.r;
    std::uint32_t p = cost.p;
    // OpenSSL's default fails from 2^15 on.
    std::uint64_t most_memory = 128 * std::uint64_t{r} * (n + p + 2);
    const OSSL_PARAM params[] = {
        octets(OSSL_KDF_PARAM_PASSWORD, passphrase),
        octets(OSSL_KDF_PARAM_SALT, salt),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &most_memory),
        OSSL_PARAM_construct_end(),
    };
    const ossl::Owned<EVP_KDF> kdf(EVP_KDF_fetch(nullptr, "SCRYPT", nullptr));
    const ossl::Owned<EVP_KDF_CTX> context(EVP_KDF_CTX_new(kdf.get()));
    if (context == nullptr || EVP_KDF_derive(context.get(), out.data(), out.size(), params) != 1) {
        return ossl::failure("SCRYPT");
    }
    return {};
}

}  // namespace kms
