#include "crypto/sealed.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <variant>

#include "base/secret.hpp"
#include "crypto/gcm.hpp"
#include "crypto/kdf.hpp"
#include "crypto/random.hpp"
#include "crypto/siv.hpp"
#include "crypto/xaes.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::size_t header_length = sealed_beginning;
constexpr std::size_t authenticator_length = 16;  // a GCM tag, or a synthetic IV

std::optional<std::size_t> nonce_length_of(Byte suite) {
    switch (static_cast<Suite>(suite)) {
        case Suite::xaes_256_gcm:
            return xaes_nonce_length;
        case Suite::aes_siv:
            return 0;
        case Suite::aes_gcm:
            return gcm_nonce_length;
    }
    return std::nullopt;
}

// AES-GCM whose nonces are random and stand in the value.
class RandomNonceGcm {
  public:
    static Result<RandomNonceGcm> create(ByteView key) {
        KMS_ASSIGN(auto sealing, GcmKey::create(GcmKey::Direction::seal, key));
        KMS_ASSIGN(auto opening, GcmKey::create(GcmKey::Direction::open, key));
        return RandomNonceGcm(std::move(sealing), std::move(opening));
    }

    Status seal(ByteSpan nonce, AdditionalData data, ByteView plaintext, ByteSpan out) {
        KMS_TRY(nonces_->take(nonce));
        return sealing_.seal(nonce, data, plaintext, out);
    }
    Status open(ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out) {
        return opening_.open(nonce, data, sealed, out);
    }
    void wipe() noexcept {
        sealing_.wipe();
        opening_.wipe();
        nonces_->wipe();
    }

  private:
    RandomNonceGcm(GcmKey sealing, GcmKey opening)
        : sealing_(std::move(sealing)),
          opening_(std::move(opening)),
          nonces_(std::make_unique<RandomPool>()) {}

    GcmKey sealing_;
    GcmKey opening_;
    std::unique_ptr<RandomPool> nonces_;
};

using Construction = std::variant<XaesKey, SivKey, RandomNonceGcm>;

template <typename Key>
Result<Construction> create(ByteView subkey) {
    KMS_ASSIGN(Key key, Key::create(subkey));
    return Construction(std::move(key));
}

Result<Construction> construct(Suite suite, ByteView subkey) {
    switch (suite) {
        case Suite::xaes_256_gcm:
            return create<XaesKey>(subkey);
        case Suite::aes_siv:
            return create<SivKey>(subkey);
        case Suite::aes_gcm:
            break;
    }
    return create<RandomNonceGcm>(subkey);
}

// A nonce of no bytes belongs to AES-SIV, whose synthetic IV begins `out`.
template <typename Key>
Status seal_with(Key& key, ByteSpan nonce, AdditionalData data, ByteView plaintext, ByteSpan out) {
    return key.seal(nonce, data, plaintext, out);
}
Status seal_with(SivKey& key, ByteSpan, AdditionalData data, ByteView plaintext, ByteSpan out) {
    return key.seal(data, plaintext, out);
}

template <typename Key>
Status open_with(Key& key, ByteView nonce, AdditionalData data, ByteView sealed, ByteSpan out) {
    return key.open(nonce, data, sealed, out);
}
Status open_with(SivKey& key, ByteView, AdditionalData data, ByteView sealed, ByteSpan out) {
    return key.open(data, sealed, out);
}

}  // namespace

std::optional<std::size_t> least_sealed_length(ByteView beginning) {
    const auto nonce_length =
        beginning.size() < sealed_beginning ? std::nullopt : nonce_length_of(beginning[0]);
    if (!nonce_length) {
        return std::nullopt;
    }
    return header_length + *nonce_length + authenticator_length;
}

[[gnu::hot]] std::optional<SealedHeader> read_sealed_header(ByteView sealed) {
    const auto nonce_length = sealed.empty() ? std::nullopt : nonce_length_of(sealed[0]);
    if (!nonce_length) {
        return std::nullopt;
    }
    const std::size_t overhead = header_length + *nonce_length + authenticator_length;
    if (sealed.size() < overhead) {
        return std::nullopt;
    }
    SealedHeader header{.suite = static_cast<Suite>(sealed[0]),
                        .tag = {},
                        .nonce = sealed.subspan(header_length, *nonce_length),
                        .plaintext_length = sealed.size() - overhead};
    std::memcpy(header.tag.data(), sealed.data() + 1, key_tag_length);
    return header;
}

Result<SealedHeader> parse_sealed(ByteView sealed) {
    if (const auto header = read_sealed_header(sealed)) {
        return *header;
    }
    if (sealed.empty()) {
        return Error{Code::malformed, "a sealed value is never empty"};
    }
    const bool known = nonce_length_of(sealed[0]).has_value();
    return Error{Code::malformed,
                 known ? "not a sealed value: too short" : "not a sealed value: unknown suite"};
}

struct SealingKey::State {
    State(const AlgorithmInfo& i, const KeyTag& t, std::optional<Construction> c = std::nullopt)
        : info(i), tag(t), construction(std::move(c)) {
        header[0] = static_cast<Byte>(info.suite.value_or(Suite{}));
        std::ranges::copy(tag, header.begin() + 1);
    }

    std::size_t overhead() const {
        return header_length + info.nonce_length + authenticator_length;
    }
    Status check_seal(std::size_t plaintext, std::size_t out) const;
    Status check_open(ByteView sealed, std::size_t out) const;
    Status seal(ByteView plaintext, ByteView context, ByteSpan out);
    Status open(ByteView sealed, ByteView context, ByteSpan out);
    template <typename Action>
    Status unless_wiped(ByteSpan out, Action action);
    void wipe() noexcept;

    const AlgorithmInfo& info;
    const KeyTag tag;
    std::array<Byte, header_length> header;
    std::optional<Construction> construction;  // none of an algorithm that seals nothing
    std::atomic<bool> wiped = false;
};

Status SealingKey::State::check_seal(std::size_t plaintext, std::size_t out) const {
    if (!construction) {
        return require_sealing(info.algorithm);
    }
    if (plaintext > max_sealed_length - overhead()) {
        return Error{Code::too_large, "a sealed value has at most 1 GiB"};
    }
    if (out != plaintext + overhead()) {
        return Error{Code::invalid, "no room for exactly the sealed value"};
    }
    return {};
}

// The header is compared as it stands: to take it apart again costs a tenth of opening a short
// value.
Status SealingKey::State::check_open(ByteView sealed, std::size_t out) const {
    if (!construction || sealed.size() < overhead() ||
        std::memcmp(sealed.data(), header.data(), header_length) != 0) {
        KMS_TRY(parse_sealed(sealed));
        return Error{Code::wrong_key, "sealed under another key"};
    }
    if (sealed.size() > max_sealed_length) {
        return Error{Code::too_large, "a sealed value has at most 1 GiB"};
    }
    if (out != sealed.size() - overhead()) {
        return Error{Code::invalid, "no room for exactly the plaintext"};
    }
    return {};
}

[[gnu::hot]] Status SealingKey::State::seal(ByteView plaintext, ByteView context, ByteSpan out) {
    KMS_TRY(check_seal(plaintext.size(), out.size()));
    copy_bytes(header, out);
    const ByteSpan nonce = out.subspan(header_length, info.nonce_length);
    const ByteSpan rest = out.subspan(header_length + info.nonce_length);
    const AdditionalData data{header, context};
    return std::visit([&](auto& key) { return seal_with(key, nonce, data, plaintext, rest); },
                      *construction);
}

[[gnu::hot]] Status SealingKey::State::open(ByteView sealed, ByteView context, ByteSpan out) {
    KMS_TRY(check_open(sealed, out.size()));
    const ByteView nonce = sealed.subspan(header_length, info.nonce_length);
    const ByteView rest = sealed.subspan(header_length + info.nonce_length);
    const AdditionalData data{header, context};
    return std::visit([&](auto& key) { return open_with(key, nonce, data, rest, out); },
                      *construction);
}

// A wipe that a signal handler does in the middle of `action` may come before a key is derived: so
// it is looked for afterwards too, and done again.
template <typename Action>
[[gnu::hot]] Status SealingKey::State::unless_wiped(ByteSpan out, Action action) {
    Status done = wiped ? Status() : action();
    if (wiped) {
        wipe();
        done = Error{Code::internal, "this key has been wiped"};
    }
    if (!done) {
        kms::wipe(out);
    }
    return done;
}

void SealingKey::State::wipe() noexcept {
    wiped = true;
    if (construction) {
        std::visit([](auto& key) { key.wipe(); }, *construction);
    }
}

SealingKey::SealingKey(std::unique_ptr<State> state) : state_(std::move(state)) {}
SealingKey::SealingKey(SealingKey&&) noexcept = default;
SealingKey& SealingKey::operator=(SealingKey&&) noexcept = default;
SealingKey::~SealingKey() = default;

Status derive_wrapping_subkey(Algorithm algorithm, ByteView data_key, ByteSpan out) {
    KMS_TRY(require_sealing(algorithm));
    return derive_subkey(data_key, "kms/1 wrap", info_of(algorithm).name, out);
}

Result<SealingKey> SealingKey::from_data_key(Algorithm algorithm, ByteView data_key) {
    KMS_ASSIGN(const KeyTag tag, compute_key_tag(algorithm, data_key));
    const AlgorithmInfo& info = info_of(algorithm);
    if (!info.seals()) {
        return SealingKey(std::make_unique<State>(info, tag));
    }
    const std::string_view label = info.is_deterministic() ? "kms/1 siv" : "kms/1 seal";
    SecretBytes subkey(info.key_length);
    KMS_TRY(derive_subkey(data_key, label, info.name, subkey.span()));
    return from_subkey(algorithm, subkey.view(), tag);
}

Result<SealingKey> SealingKey::wrapping_from_data_key(Algorithm algorithm, ByteView data_key) {
    KMS_ASSIGN(const KeyTag tag, compute_key_tag(algorithm, data_key));
    SecretArray<wrapping_subkey_length> subkey;
    KMS_TRY(derive_wrapping_subkey(algorithm, data_key, subkey.span()));
    return from_subkey(Algorithm::xaes_256_gcm, subkey.view(), tag);
}

Result<SealingKey> SealingKey::from_subkey(Algorithm algorithm, ByteView subkey,
                                           const KeyTag& tag) {
    const AlgorithmInfo& info = info_of(algorithm);
    KMS_TRY(require_sealing(algorithm));
    if (subkey.size() != info.key_length) {
        return Error{Code::invalid, "a subkey of the wrong length"};
    }
    KMS_ASSIGN(auto construction, construct(*info.suite, subkey));
    return SealingKey(std::make_unique<State>(info, tag, std::move(construction)));
}

Algorithm SealingKey::algorithm() const {
    return state_->info.algorithm;
}

const KeyTag& SealingKey::tag() const {
    return state_->tag;
}

std::size_t wrapped_size(std::size_t length) {
    const std::size_t nonce_length = info_of(Algorithm::xaes_256_gcm).nonce_length;
    return header_length + nonce_length + length + authenticator_length;
}

std::size_t SealingKey::sealed_size(std::size_t plaintext_length) const {
    return plaintext_length + state_->overhead();
}

[[gnu::hot]] Status SealingKey::seal(ByteView plaintext, ByteView context, ByteSpan out) {
    return state_->unless_wiped(out, [&] { return state_->seal(plaintext, context, out); });
}

[[gnu::hot]] Status SealingKey::open(ByteView sealed, ByteView context, ByteSpan out) {
    return state_->unless_wiped(out, [&] { return state_->open(sealed, context, out); });
}

void SealingKey::wipe() noexcept {
    if (state_ != nullptr) {
        state_->wipe();
    }
}

// Where it fails, the key that is needed will say why.
void prepare_sealing() {
    constexpr std::array<Byte, 32> no_key{};
    static_cast<void>(SealingKey::from_data_key(default_algorithm, no_key));
}

}  // namespace kms
