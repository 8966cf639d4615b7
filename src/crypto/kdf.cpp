#include "crypto/kdf.hpp"

#include <openssl/core_names.h>

#include <string>

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

Status derive(const char* name, const OSSL_PARAM* params, ByteSpan out) {
    const ossl::Owned<EVP_KDF> kdf(EVP_KDF_fetch(nullptr, name, nullptr));
    const ossl::Owned<EVP_KDF_CTX> context(EVP_KDF_CTX_new(kdf.get()));
    if (context == nullptr || EVP_KDF_derive(context.get(), out.data(), out.size(), params) != 1) {
        return ossl::failure(name);
    }
    return {};
}

struct Hkdf {
    const char* digest;
    std::size_t digest_length;
    int mode;
};

Status hkdf(Hkdf form, ByteView key, ByteView salt, ByteView info, ByteSpan out) {
    if (key.empty() || out.empty() || out.size() > 255 * form.digest_length) {
        return Error{Code::invalid, "HKDF cannot derive this many bytes from such a key"};
    }
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(form.digest), 0),
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &form.mode),
        octets(OSSL_KDF_PARAM_KEY, key),
        octets(OSSL_KDF_PARAM_SALT, salt),
        octets(OSSL_KDF_PARAM_INFO, info),
        OSSL_PARAM_construct_end(),
    };
    return derive("HKDF", params, out);
}

constexpr unsigned scrypt_most_log2_n = 30;

}  // namespace

Status hkdf_sha256(ByteView key, ByteView info, ByteSpan out) {
    return hkdf_sha256(key, {}, info, out);
}

Status hkdf_sha256(ByteView key, ByteView salt, ByteView info, ByteSpan out) {
    return hkdf({"SHA256", 32, EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND}, key, salt, info, out);
}

Status hkdf_expand_sha512(ByteView key, ByteView info, ByteSpan out) {
    return hkdf({"SHA512", 64, EVP_KDF_HKDF_MODE_EXPAND_ONLY}, key, {}, info, out);
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
    return derive("SCRYPT", params, out);
}

}  // namespace kms
