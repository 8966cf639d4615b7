#include "crypto/ossl.hpp"

#include <openssl/err.h>

#include <array>
#include <atomic>
#include <string>

#include "base/floor.hpp"

namespace kms::ossl {
namespace {

constexpr std::size_t lengths = 3;
constexpr std::size_t modes = 3;
constexpr std::array<std::array<const char*, lengths>, modes> names{{
    {"AES-128-ECB", "AES-192-ECB", "AES-256-ECB"},
    {"AES-128-CTR", "AES-192-CTR", "AES-256-CTR"},
    {"AES-128-GCM", "AES-192-GCM", "AES-256-GCM"},
}};

using Slot = std::atomic<EVP_CIPHER*>;

// Another thread may have been faster.
const EVP_CIPHER* fetch_into(Slot& slot, const char* name) {
    Owned<EVP_CIPHER> fetched(EVP_CIPHER_fetch(nullptr, name, nullptr));
    EVP_CIPHER* there = nullptr;
    return slot.compare_exchange_strong(there, fetched.get()) ? fetched.release() : there;
}

// Each is fetched once, since a lookup costs more than sealing a short value; again where that
// failed, for want of memory perhaps; and never freed: static destructors run inside exit(), where
// OpenSSL may already have cleaned up.
const EVP_CIPHER* cipher_of(Mode mode, std::size_t key_length) {
    static constinit std::array<std::array<Slot, lengths>, modes> slots{};
    const auto row = static_cast<std::size_t>(mode);
    const std::size_t column = key_length / 8 - 2;
    const EVP_CIPHER* cipher = slots[row][column].load(std::memory_order_acquire);
    return cipher != nullptr ? cipher : fetch_into(slots[row][column], names[row][column]);
}

bool is_aes_key_length(std::size_t bytes) {
    return bytes == 16 || bytes == 24 || bytes == 32;
}

// Only where there would be any: OpenSSL 3.0 sets it anew with every nonce, which costs a tenth of
// sealing a short value.
bool without_padding(EVP_CIPHER_CTX* context, Mode mode) {
    return mode != Mode::ecb || EVP_CIPHER_CTX_set_padding(context, 0) == 1;
}

constexpr std::array<Byte, 32> zero_key{};

}  // namespace

Error failure(std::string_view what) {
    const unsigned long error = ERR_peek_last_error();
    const char* reason = ERR_reason_error_string(error);
    std::array<char, 256> number;  // for a program that has not loaded the reasons
    ERR_error_string_n(error, number.data(), number.size());
    ERR_clear_error();
    return {Code::internal,
            std::string(what) + ": " + (reason != nullptr ? reason : number.data())};
}

Result<Owned<EVP_CIPHER_CTX>> aes(Mode mode, Direction direction, ByteView key) {
    if (!is_aes_key_length(key.size())) {
        return Error{Code::invalid, "an AES key has 16, 24 or 32 bytes"};
    }
    Owned<EVP_CIPHER_CTX> context(EVP_CIPHER_CTX_new());
    const EVP_CIPHER* cipher = cipher_of(mode, key.size());
    const int encrypt = direction == Direction::encrypt ? 1 : 0;
    if (context == nullptr || cipher == nullptr ||
        EVP_CipherInit_ex(context.get(), cipher, nullptr, key.data(), nullptr, encrypt) != 1 ||
        !without_padding(context.get(), mode)) {
        return failure("cannot set up AES");
    }
    return context;
}

bool set_key(EVP_CIPHER_CTX* context, ByteView key) {
    return EVP_CipherInit_ex(context, nullptr, nullptr, key.data(), nullptr, -1) == 1;
}

void wipe_key(EVP_CIPHER_CTX* context) noexcept {
    if (context != nullptr) {
        set_key(context, zero_key);
    }
}

bool transform(EVP_CIPHER_CTX* context, ByteView in, ByteSpan out) {
    int written = 0;
    return in.empty() || (EVP_CipherUpdate(context, out.data(), &written, in.data(),
                                           static_cast<int>(in.size())) == 1 &&
                          static_cast<std::size_t>(written) == in.size());
}

}  // namespace kms::ossl
