#include "crypto/xaes.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/secret.hpp"
#include "crypto/gcm.hpp"
#include "crypto/gf128.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::size_t block = 16;
constexpr std::size_t cache_slots = 64;
constexpr unsigned values_per_prefix = 1u << 12;
constexpr std::uint64_t bytes_per_prefix = std::uint64_t{64} << 30;

using Prefix = std::array<Byte, xaes_prefix_length>;

Prefix prefix_of(ByteView nonce) {
    Prefix prefix;
    copy_bytes(nonce.first(prefix.size()), prefix);
    return prefix;
}

Status check_nonce(ByteView nonce) {
    if (nonce.size() != xaes_nonce_length) {
        return Error{Code::invalid, "an XAES-256-GCM nonce has 24 bytes"};
    }
    return {};
}

// A derived key, and the nonce prefix that it was derived from.
struct DerivedKey {
    Prefix prefix;
    bool ready = false;
    GcmKey key;
};

// What the sealing key has sealed so far; nothing of it outlives a fork.
struct Use {
    unsigned epoch = 0;
    unsigned values = 0;
    std::uint64_t bytes = 0;

    bool has_room_for(std::size_t plaintext) const {
        return epoch == process_epoch() && values < values_per_prefix &&
               plaintext <= bytes_per_prefix - bytes;
    }
};

}  // namespace

struct XaesKey::State {
    explicit State(ossl::Owned<EVP_CIPHER_CTX> aes) : cipher(std::move(aes)) {}

    Status derive(const Prefix& prefix, ByteSpan out);
    Status load(DerivedKey& slot, GcmKey::Direction direction, const Prefix& prefix);
    Status renew_prefix();
    Status open(ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out);

    ossl::Owned<EVP_CIPHER_CTX> cipher;  // AES-256 under the input key
    SecretArray<block> k1;
    DerivedKey sealing;
    Use use;
    RandomPool nonces;
    std::array<DerivedKey, cache_slots> opening;
};

// CMAC of two messages of one block each, whose subkey K1 is at hand: two blocks of AES.
Status XaesKey::State::derive(const Prefix& prefix, ByteSpan out) {
    std::array<Byte, 2 * block> messages{0, 1, 'X', 0};
    messages[block + 1] = 2;
    messages[block + 2] = 'X';
    const ByteSpan first = ByteSpan(messages).first(block);
    const ByteSpan second = ByteSpan(messages).last(block);
    for (const ByteSpan message : {first, second}) {
        std::ranges::copy(prefix, message.last(prefix.size()).begin());
        xor_into(message, k1.view());
    }
    const bool done = ossl::transform(cipher.get(), messages, out);
    kms::wipe(messages);
    if (!done) {
        return ossl::failure("XAES-256-GCM key");
    }
    return {};
}

Status XaesKey::State::load(DerivedKey& slot, GcmKey::Direction direction, const Prefix& prefix) {
    slot.ready = false;
    SecretArray<xaes_key_length> derived;
    KMS_TRY(derive(prefix, derived.span()));
    if (slot.key) {
        KMS_TRY(slot.key.set_key(derived.view()));
    } else {
        KMS_ASSIGN(slot.key, GcmKey::create(direction, derived.view()));
    }
    slot.prefix = prefix;
    slot.ready = true;
    return {};
}

Status XaesKey::State::renew_prefix() {
    const unsigned now = process_epoch();
    Prefix fresh;
    use.epoch = 0;
    KMS_TRY(nonces.take(fresh));
    KMS_TRY(load(sealing, GcmKey::Direction::seal, fresh));
    use = {.epoch = now};
    return {};
}

[[gnu::hot]] Status XaesKey::State::open(ByteView nonce, AdditionalData data, ByteView sealed,
                                         ByteSpan out) {
    DerivedKey& slot = opening[nonce[0] % cache_slots];
    if (!slot.ready || std::memcmp(slot.prefix.data(), nonce.data(), slot.prefix.size()) != 0) {
        KMS_TRY(load(slot, GcmKey::Direction::open, prefix_of(nonce)));
    }
    return slot.key.open(nonce.subspan(xaes_prefix_length), data, sealed, out);
}

XaesKey::XaesKey(std::unique_ptr<State> state) : state_(std::move(state)) {}
XaesKey::XaesKey(XaesKey&&) noexcept = default;
XaesKey& XaesKey::operator=(XaesKey&&) noexcept = default;
XaesKey::~XaesKey() = default;

Result<XaesKey> XaesKey::create(ByteView key) {
    if (key.size() != xaes_key_length) {
        return Error{Code::invalid, "an XAES-256-GCM key has 32 bytes"};
    }
    KMS_ASSIGN(auto cipher, ossl::aes(ossl::Mode::ecb, ossl::Direction::encrypt, key));
    auto state = std::make_unique<State>(std::move(cipher));
    constexpr std::array<Byte, block> zeros{};
    if (!ossl::transform(state->cipher.get(), zeros, state->k1.span())) {
        return ossl::failure("XAES-256-GCM key");
    }
    double_block(state->k1.span());
    return XaesKey(std::move(state));
}

Status XaesKey::seal_with_nonce(ByteView nonce, AdditionalData data, ByteView plaintext,
                                ByteSpan out) {
    KMS_TRY(check_nonce(nonce));
    DerivedKey derived;
    KMS_TRY(state_->load(derived, GcmKey::Direction::seal, prefix_of(nonce)));
    return derived.key.seal(nonce.subspan(xaes_prefix_length), data, plaintext, out);
}

[[gnu::hot]] Status XaesKey::seal(ByteSpan nonce, AdditionalData data, ByteView plaintext,
                                  ByteSpan out) {
    KMS_TRY(check_nonce(nonce));
    if (!state_->use.has_room_for(plaintext.size())) {
        KMS_TRY(state_->renew_prefix());
    }
    ++state_->use.values;
    state_->use.bytes += plaintext.size();
    copy_bytes(state_->sealing.prefix, nonce);
    const ByteSpan rest = nonce.subspan(xaes_prefix_length);
    KMS_TRY(state_->nonces.take(rest));
    return state_->sealing.key.seal(rest, data, plaintext, out);
}

[[gnu::hot]] Status XaesKey::open(ByteView nonce, AdditionalData data, ByteView sealed,
                                  ByteSpan out) {
    KMS_TRY(check_nonce(nonce));
    return state_->open(nonce, data, sealed, out);
}

void XaesKey::wipe() noexcept {
    if (state_ == nullptr) {
        return;
    }
    ossl::wipe_key(state_->cipher.get());
    kms::wipe(state_->k1.span());
    state_->nonces.wipe();
    state_->sealing.key.wipe();
    for (DerivedKey& slot : state_->opening) {
        slot.key.wipe();
    }
}

}  // namespace kms
