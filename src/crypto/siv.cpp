#include "crypto/siv.hpp"

#include <algorithm>
#include <array>

#include "base/secret.hpp"
#include "crypto/cmac.hpp"
#include "crypto/gf128.hpp"
#include "crypto/ossl.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr std::size_t block = siv_length;
constexpr std::size_t most_strings = 126;

using Block = SecretArray<block>;

// RFC 5297, 2.6: two bits cleared, so that the counter never carries beyond 32 bits.
std::array<Byte, block> counter_of(ByteView iv) {
    std::array<Byte, block> counter;
    std::ranges::copy(iv, counter.begin());
    counter[8] &= 0x7F;
    counter[12] &= 0x7F;
    return counter;
}

bool encrypt(EVP_CIPHER_CTX* ctr, ByteView iv, ByteView in, ByteSpan out) {
    const auto counter = counter_of(iv);
    return EVP_CipherInit_ex(ctr, nullptr, nullptr, nullptr, counter.data(), -1) == 1 &&
           ossl::transform(ctr, in, out);
}

Status check_sizes(std::size_t plain, std::size_t whole) {
    if (plain > ossl::max_length) {
        return Error{Code::too_large, "more than 1 GiB for AES-SIV"};
    }
    if (whole != plain + siv_length) {
        return Error{Code::invalid, "wrong sizes for AES-SIV"};
    }
    return {};
}

}  // namespace

struct SivKey::State {
    bool absorb(AdditionalData string);
    Status absorb_all(std::span<const ByteView> strings);
    Status absorb_only(AdditionalData string);
    bool conclude(ByteView last, ByteSpan iv);
    Status seal(ByteView plaintext, ByteSpan out);
    Status open(ByteView sealed, ByteSpan out);

    Cmac cmac;
    ossl::Owned<EVP_CIPHER_CTX> ctr;
    Block of_zero;  // CMAC of a zero block, where every S2V begins
    Block sum;      // D of RFC 5297, 2.4
};

bool SivKey::State::absorb(AdditionalData string) {
    Block mac;
    if (!cmac.start() || !cmac.add(string.first) || !cmac.add(string.second) ||
        !cmac.finish(mac.span())) {
        return false;
    }
    double_block(sum.span());
    xor_into(sum.span(), mac.view());
    return true;
}

Status SivKey::State::absorb_all(std::span<const ByteView> strings) {
    if (strings.size() > most_strings) {
        return Error{Code::invalid, "AES-SIV takes at most 126 strings of associated data"};
    }
    std::ranges::copy(of_zero.view(), sum.span().begin());
    for (const ByteView string : strings) {
        if (!absorb({string, {}})) {
            return ossl::failure("AES-SIV");
        }
    }
    return {};
}

Status SivKey::State::absorb_only(AdditionalData string) {
    std::ranges::copy(of_zero.view(), sum.span().begin());
    if (!absorb(string)) {
        return ossl::failure("AES-SIV");
    }
    return {};
}

// The last string's end is combined with the sum of the others: its last block where it has one,
// else the whole of it, padded.
bool SivKey::State::conclude(ByteView last, ByteSpan iv) {
    const std::size_t tail = std::min(last.size(), block);
    Block end;
    std::ranges::copy(last.last(tail), end.span().begin());
    if (tail < block) {
        end.span()[tail] = 0x80;
        double_block(sum.span());
    }
    xor_into(end.span(), sum.view());
    return cmac.start() && cmac.add(last.first(last.size() - tail)) && cmac.add(end.view()) &&
           cmac.finish(iv);
}

Status SivKey::State::seal(ByteView plaintext, ByteSpan out) {
    const ByteSpan iv = out.first(siv_length);
    if (!conclude(plaintext, iv) || !encrypt(ctr.get(), iv, plaintext, out.subspan(siv_length))) {
        return ossl::failure("AES-SIV");
    }
    return {};
}

Status SivKey::State::open(ByteView sealed, ByteSpan out) {
    const ByteView iv = sealed.first(siv_length);
    Block expected;
    if (!encrypt(ctr.get(), iv, sealed.subspan(siv_length), out) ||
        !conclude(out, expected.span())) {
        kms::wipe(out);
        return ossl::failure("AES-SIV");
    }
    if (CRYPTO_memcmp(iv.data(), expected.view().data(), siv_length) != 0) {
        kms::wipe(out);
        return Error{Code::corrupt, "authentication failed"};
    }
    return {};
}

SivKey::SivKey(std::unique_ptr<State> state) : state_(std::move(state)) {}
SivKey::SivKey(SivKey&&) noexcept = default;
SivKey& SivKey::operator=(SivKey&&) noexcept = default;
SivKey::~SivKey() = default;

Result<SivKey> SivKey::create(ByteView key) {
    const std::size_t half = key.size() / 2;
    if (key.size() % 2 != 0) {
        return Error{Code::invalid, "an AES-SIV key has 32, 48 or 64 bytes"};
    }
    auto state = std::make_unique<State>();
    KMS_TRY(state->cmac.set_key(key.first(half)));
    KMS_ASSIGN(state->ctr, ossl::aes(ossl::Mode::ctr, ossl::Direction::encrypt, key.last(half)));
    constexpr std::array<Byte, block> zeros{};
    if (!state->cmac.start() || !state->cmac.add(zeros) ||
        !state->cmac.finish(state->of_zero.span())) {
        return ossl::failure("AES-SIV key");
    }
    return SivKey(std::move(state));
}

Status SivKey::seal(std::span<const ByteView> associated, ByteView plaintext, ByteSpan out) {
    KMS_TRY(check_sizes(plaintext.size(), out.size()));
    KMS_TRY(state_->absorb_all(associated));
    return state_->seal(plaintext, out);
}

Status SivKey::open(std::span<const ByteView> associated, ByteView sealed, ByteSpan out) {
    KMS_TRY(check_sizes(out.size(), sealed.size()));
    KMS_TRY(state_->absorb_all(associated));
    return state_->open(sealed, out);
}

Status SivKey::seal(AdditionalData associated, ByteView plaintext, ByteSpan out) {
    KMS_TRY(check_sizes(plaintext.size(), out.size()));
    KMS_TRY(state_->absorb_only(associated));
    return state_->seal(plaintext, out);
}

Status SivKey::open(AdditionalData associated, ByteView sealed, ByteSpan out) {
    KMS_TRY(check_sizes(out.size(), sealed.size()));
    KMS_TRY(state_->absorb_only(associated));
    return state_->open(sealed, out);
}

// One byte of key stream under the zero key overwrites what the context keeps of the last value's.
void SivKey::wipe() noexcept {
    if (state_ == nullptr) {
        return;
    }
    state_->cmac.wipe();
    ossl::wipe_key(state_->ctr.get());
    constexpr std::array<Byte, block> zeros{};
    Byte ignored = 0;
    encrypt(state_->ctr.get(), zeros, ByteView(zeros).first(1), {&ignored, 1});
    kms::wipe(state_->of_zero.span());
    kms::wipe(state_->sum.span());
}

}  // namespace kms
