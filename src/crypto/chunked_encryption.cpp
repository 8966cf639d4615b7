#include "crypto/chunked_encryption.hpp"

#include <openssl/crypto.h>

#include <string>

#include "crypto/kdf.hpp"
#include "crypto/random.hpp"

#include "base/floor.hpp"

namespace kms::chunked {
namespace {

constexpr std::string_view label = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM";

std::string key_info(ByteView salt, ByteView context) {
    std::string info(label);
    info += '\0';
    info += text_of(salt);
    info += text_of(context);
    return info;
}

// Both sizes of a chunk, whichever of the two is given.
Status check_chunk(std::uint64_t number, std::size_t plain, std::size_t sealed) {
    if (number >= max_chunks) {
        return Error{Code::too_large, "a message has at most 2^38 chunks"};
    }
    if (plain > chunk_length || sealed != plain + gcm_tag_length) {
        return Error{Code::invalid, "no room for exactly one chunk"};
    }
    return {};
}

}  // namespace

Status derive_message_keys(ByteView input_key, ByteView salt, ByteView context, MessageKeys& keys) {
    if (input_key.size() != key_length || salt.size() != salt_length) {
        return Error{Code::invalid, "a message's input key has 32 bytes, its salt 24"};
    }
    SecretArray<key_length + gcm_nonce_length + commitment_length> derived;
    KMS_TRY(hkdf_expand_sha512(input_key, bytes_of(key_info(salt, context)), derived.span()));
    copy_bytes(derived.view().first(key_length), keys.key.span());
    copy_bytes(derived.view().subspan(key_length, gcm_nonce_length), keys.base_nonce.span());
    copy_bytes(derived.view().last(commitment_length), keys.commitment);
    return {};
}

ChunkKey::ChunkKey(GcmKey key, ByteView base_nonce) : key_(std::move(key)) {
    copy_bytes(base_nonce, base_nonce_);
}

Result<ChunkKey> ChunkKey::create(GcmKey::Direction direction, ByteView key, ByteView base_nonce) {
    if (key.size() != key_length || base_nonce.size() != gcm_nonce_length) {
        return Error{Code::invalid, "a message's key has 32 bytes, its base nonce 12"};
    }
    KMS_ASSIGN(auto gcm, GcmKey::create(direction, key));
    return ChunkKey(std::move(gcm), base_nonce);
}

ChunkKey::Nonce ChunkKey::nonce_of(std::uint64_t number) const {
    Nonce nonce = base_nonce_;
    const ByteSpan end = ByteSpan(nonce).last(sizeof number);
    store_be(end, load_be(end) ^ number);
    return nonce;
}

Status ChunkKey::seal(std::uint64_t number, ByteView plaintext, ByteSpan out) {
    KMS_TRY(check_chunk(number, plaintext.size(), out.size()));
    return key_.seal(nonce_of(number), {}, plaintext, out);
}

Status ChunkKey::open(std::uint64_t number, ByteView sealed, ByteSpan out) {
    KMS_TRY(check_chunk(number, out.size(), sealed.size()));
    return key_.open(nonce_of(number), {}, sealed, out);
}

MessageSealer::MessageSealer(ChunkKey key) : key_(std::move(key)), epoch_(process_epoch()) {}

Result<MessageSealer> MessageSealer::start(ByteView input_key, ByteView context, ByteSpan header) {
    std::array<Byte, salt_length> salt;
    KMS_TRY(random_public(salt));
    return start_with_salt(input_key, salt, context, header);
}

Result<MessageSealer> MessageSealer::start_with_salt(ByteView input_key, ByteView salt,
                                                     ByteView context, ByteSpan header) {
    if (header.size() != header_length) {
        return Error{Code::invalid, "no room for exactly a message's header"};
    }
    MessageKeys keys;
    KMS_TRY(derive_message_keys(input_key, salt, context, keys));
    KMS_ASSIGN(auto key,
               ChunkKey::create(GcmKey::Direction::seal, keys.key.view(), keys.base_nonce.view()));
    copy_bytes(salt, header);
    copy_bytes(keys.commitment, header.subspan(salt_length));
    return MessageSealer(std::move(key));
}

Status MessageSealer::seal_chunk(ByteView plaintext, ByteSpan out) {
    if (plaintext.size() != chunk_length) {
        return Error{Code::invalid, "a chunk that is not the final one has 16 KiB"};
    }
    return seal(plaintext, out, false);
}

Status MessageSealer::seal_final(ByteView plaintext, ByteSpan out) {
    if (plaintext.size() >= chunk_length) {
        return Error{Code::invalid, "the final chunk has less than 16 KiB"};
    }
    return seal(plaintext, out, true);
}

// A failure in the middle may have left a part of the chunk in `out`, so its number is used up.
Status MessageSealer::seal(ByteView plaintext, ByteSpan out, bool final) {
    if (ended_ || epoch_ != process_epoch()) {
        return Error{Code::invalid, "nothing can be added to this message"};
    }
    KMS_TRY(check_chunk(next_, plaintext.size(), out.size()));
    ended_ = true;
    KMS_TRY(key_.seal(next_, plaintext, out));
    ended_ = final;
    ++next_;
    return {};
}

MessageOpener::MessageOpener(ChunkKey key) : key_(std::move(key)) {}

Result<MessageOpener> MessageOpener::create(ByteView input_key, ByteView context, ByteView header) {
    if (header.size() != header_length) {
        return Error{Code::corrupt, "the message is cut short within its header"};
    }
    MessageKeys keys;
    KMS_TRY(derive_message_keys(input_key, header.first(salt_length), context, keys));
    if (CRYPTO_memcmp(keys.commitment.data(), header.data() + salt_length, commitment_length) !=
        0) {
        return Error{Code::corrupt, "the message's commitment is not that of its key and context"};
    }
    KMS_ASSIGN(auto key,
               ChunkKey::create(GcmKey::Direction::open, keys.key.view(), keys.base_nonce.view()));
    return MessageOpener(std::move(key));
}

Status MessageOpener::open(std::uint64_t number, ByteView sealed, ByteSpan out) {
    return key_.open(number, sealed, out);
}

}  // namespace kms::chunked
