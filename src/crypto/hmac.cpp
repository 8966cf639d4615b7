#include "crypto/hmac.hpp"

#include <openssl/core_names.h>

#include <array>

#include "crypto/ossl.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::array<Byte, most_digest> zeros{};

ossl::Owned<EVP_MAC_CTX> make_context(const Digest& digest) {
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>(digest.name), 0),
        OSSL_PARAM_construct_end(),
    };
    const ossl::Owned<EVP_MAC> mac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr));
    ossl::Owned<EVP_MAC_CTX> context(mac != nullptr ? EVP_MAC_CTX_new(mac.get()) : nullptr);
    const bool ready =
        context != nullptr && EVP_MAC_init(context.get(), zeros.data(), digest.length, params) == 1;
    return ready ? std::move(context) : nullptr;
}

EVP_MAC_CTX* context_of(const Digest& digest) {
    thread_local std::array<ossl::Owned<EVP_MAC_CTX>, 2> contexts;
    auto& context = contexts[digest.length == sha256_digest.length ? 0 : 1];
    if (context == nullptr) {
        context = make_context(digest);
    }
    return context.get();
}

}  // namespace

Hmac::Hmac(const Digest& digest) : digest_(digest), context_(context_of(digest)) {}

Hmac::~Hmac() {
    if (context_ != nullptr) {
        set_key(ByteView(zeros).first(digest_.length));
    }
}

bool Hmac::set_key(ByteView key) {
    return context_ != nullptr && EVP_MAC_init(context_, key.data(), key.size(), nullptr) == 1;
}

bool Hmac::add(ByteView part) {
    return part.empty() || EVP_MAC_update(context_, part.data(), part.size()) == 1;
}

bool Hmac::finish(ByteSpan out) {
    std::size_t length = 0;
    return EVP_MAC_final(context_, out.data(), &length, out.size()) == 1;
}

}  // namespace kms
