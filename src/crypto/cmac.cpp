#include "crypto/cmac.hpp"

#include <openssl/core_names.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::array<Byte, 32> zero_key{};
constexpr std::array<Byte, cmac_length> zero_block{};

Result<ossl::Owned<EVP_MAC_CTX>> context_for(ByteView key) {
    std::string cipher = "AES-" + std::to_string(8 * key.size()) + "-CBC";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher.data(), 0),
        OSSL_PARAM_construct_end(),
    };
    const ossl::Owned<EVP_MAC> mac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_CMAC, nullptr));
    ossl::Owned<EVP_MAC_CTX> context(mac != nullptr ? EVP_MAC_CTX_new(mac.get()) : nullptr);
    if (context == nullptr || EVP_MAC_init(context.get(), key.data(), key.size(), params) != 1) {
        return ossl::failure("AES-CMAC");
    }
    return context;
}

}  // namespace

Status Cmac::set_key(ByteView key) {
    if (key.size() != 16 && key.size() != 24 && key.size() != 32) {
        return Error{Code::invalid, "an AES-CMAC key has 16, 24 or 32 bytes"};
    }
    KMS_ASSIGN(context_, context_for(key));
    std::ranges::copy(key, key_.span().begin());
    key_length_ = key.size();
    return {};
}

// The key is given again for every message: OpenSSL before 3.0.3 takes a start without one and
// silently goes on with the message before.
bool Cmac::start() {
    return EVP_MAC_init(context_.get(), key_.view().data(), key_length_, nullptr) == 1;
}

bool Cmac::add(ByteView part) {
    return part.empty() || EVP_MAC_update(context_.get(), part.data(), part.size()) == 1;
}

bool Cmac::finish(ByteSpan out) {
    std::size_t length = 0;
    return EVP_MAC_final(context_.get(), out.data(), &length, out.size()) == 1;
}

void Cmac::wipe() noexcept {
    kms::wipe(key_.span());
    if (context_ != nullptr) {
        EVP_MAC_init(context_.get(), zero_key.data(), key_length_, nullptr);
        EVP_MAC_update(context_.get(), zero_block.data(), zero_block.size());
    }
}

}  // namespace kms
