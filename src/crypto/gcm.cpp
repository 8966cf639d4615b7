#include "crypto/gcm.hpp"

#include <openssl/core_names.h>
#include <openssl/err.h>

#include <array>

#include "base/secret.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

bool authenticate(EVP_CIPHER_CTX* context, ByteView data) {
    int length = 0;
    return data.empty() || EVP_CipherUpdate(context, nullptr, &length, data.data(),
                                            static_cast<int>(data.size())) == 1;
}

bool finish(EVP_CIPHER_CTX* context) {
    std::array<Byte, EVP_MAX_BLOCK_LENGTH> nothing;
    int length = 0;
    return EVP_CipherFinal_ex(context, nothing.data(), &length) == 1;
}

// Tags go through parameters: EVP_CIPHER_CTX_ctrl costs a tenth of sealing a short value.
std::array<OSSL_PARAM, 2> tag_parameter(ByteView tag) {
    return {{OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, const_cast<Byte*>(tag.data()),
                                     tag.size()),
             OSSL_PARAM_END}};
}

// The tag to expect. Set just before it is compared: earlier, it costs a twentieth more.
bool set_tag(EVP_CIPHER_CTX* context, ByteView tag) {
    const auto params = tag_parameter(tag);
    return EVP_CIPHER_CTX_set_params(context, params.data()) == 1;
}

bool get_tag(EVP_CIPHER_CTX* context, ByteSpan tag) {
    auto params = tag_parameter(tag);
    return EVP_CIPHER_CTX_get_params(context, params.data()) == 1;
}

}  // namespace

GcmKey::GcmKey(Direction direction, std::size_t key_length, ossl::Owned<EVP_CIPHER_CTX> context)
    : direction_(direction), key_length_(key_length), context_(std::move(context)) {}

Result<GcmKey> GcmKey::create(Direction direction, ByteView key) {
    const auto way =
        direction == Direction::seal ? ossl::Direction::encrypt : ossl::Direction::decrypt;
    KMS_ASSIGN(auto context, ossl::aes(ossl::Mode::gcm, way, key));
    return GcmKey(direction, key.size(), std::move(context));
}

Status GcmKey::set_key(ByteView key) {
    if (key.size() != key_length_) {
        return Error{Code::invalid, "a key of another length"};
    }
    if (!ossl::set_key(context_.get(), key)) {
        return ossl::failure("AES-GCM key");
    }
    return {};
}

// `whole`: of ciphertext and tag.
[[gnu::hot]] Status GcmKey::check(Direction direction, ByteView nonce, AdditionalData data,
                                  std::size_t plain, std::size_t whole) const {
    if (plain > ossl::max_length || data.first.size() > ossl::max_length ||
        data.second.size() > ossl::max_length) {
        return Error{Code::too_large, "more than 1 GiB for AES-GCM"};
    }
    if (context_ == nullptr || direction != direction_ || nonce.size() != gcm_nonce_length ||
        whole != plain + gcm_tag_length) {
        return Error{Code::invalid, "AES-GCM with wrong sizes, or the key of another direction"};
    }
    return {};
}

[[gnu::hot]] bool GcmKey::start(ByteView nonce, AdditionalData data) {
    EVP_CIPHER_CTX* context = context_.get();
    return EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), -1, nullptr) == 1 &&
           authenticate(context, data.first) && authenticate(context, data.second);
}

[[gnu::hot]] Status GcmKey::seal(ByteView nonce, AdditionalData data, ByteView plaintext,
                                 ByteSpan out) {
    KMS_TRY(check(Direction::seal, nonce, data, plaintext.size(), out.size()));
    EVP_CIPHER_CTX* context = context_.get();
    if (!start(nonce, data) || !ossl::transform(context, plaintext, out.first(plaintext.size())) ||
        !finish(context) || !get_tag(context, out.last(gcm_tag_length))) {
        return ossl::failure("AES-GCM");
    }
    return {};
}

[[gnu::hot]] Status GcmKey::open(ByteView nonce, AdditionalData data, ByteView sealed,
                                 ByteSpan out) {
    KMS_TRY(check(Direction::open, nonce, data, out.size(), sealed.size()));
    EVP_CIPHER_CTX* context = context_.get();
    if (!start(nonce, data) || !ossl::transform(context, sealed.first(out.size()), out) ||
        !set_tag(context, sealed.last(gcm_tag_length))) {
        kms::wipe(out);
        return ossl::failure("AES-GCM");
    }
    if (!finish(context)) {
        ERR_clear_error();
        kms::wipe(out);
        return Error{Code::corrupt, "authentication failed"};
    }
    return {};
}

void GcmKey::wipe() noexcept {
    ossl::wipe_key(context_.get());
}

}  // namespace kms
