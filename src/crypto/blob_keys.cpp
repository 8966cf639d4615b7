#include "crypto/blob_keys.hpp"

#include <algorithm>
#include <string_view>

#include "crypto/kdf.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

std::string context_of(std::string_view label, const BlobId& id) {
    std::string context(label);
    context += '\0';
    context += text_of(id);
    return context;
}

void append_number(std::string& context, std::uint64_t value) {
    std::array<Byte, 8> number;
    store_be(number, value);
    context += text_of(number);
}

}  // namespace

Result<BlobKeys> BlobKeys::derive(ByteView blob_key) {
    if (blob_key.size() != blob_key_length) {
        return Error{Code::invalid, "a blob's key has 32 bytes"};
    }
    SecretBytes segment(32);
    SecretArray<32> manifest;
    KeyTag tag;
    KMS_TRY(hkdf_sha256(blob_key, bytes_of("kms/1 blob segment"), segment.span()));
    KMS_TRY(hkdf_sha256(blob_key, bytes_of("kms/1 blob manifest"), manifest.span()));
    KMS_TRY(hkdf_sha256(blob_key, bytes_of("kms/1 blob tag"), tag));
    KMS_ASSIGN(auto sealing,
               SealingKey::from_subkey(Algorithm::xaes_256_gcm, manifest.view(), tag));
    return BlobKeys{std::move(segment), std::move(sealing)};
}

std::string blob_key_context(const BlobId& id) {
    return context_of("kms/1 blob key", id);
}

bool is_blob_key_context(ByteView context) {
    BlobId id{};
    const std::size_t length = blob_key_context(id).size();
    if (context.size() != length) {
        return false;
    }
    const ByteView given = context.last(blob_id_length);
    std::copy(given.begin(), given.end(), id.begin());
    return text_of(context) == blob_key_context(id);
}

std::string blob_segment_context(const BlobId& id, std::uint64_t segment) {
    std::string context = context_of("kms/1 blob segment", id);
    append_number(context, segment);
    return context;
}

std::string blob_manifest_context(const BlobId& id, std::uint64_t version) {
    std::string context = context_of("kms/1 blob manifest", id);
    append_number(context, version);
    return context;
}

std::string blob_chunk_context(const BlobId& id, std::uint64_t segment, std::uint64_t chunk,
                               bool final) {
    std::string context = context_of("kms/1 blob chunk", id);
    append_number(context, segment);
    append_number(context, chunk);
    context += final ? '\1' : '\0';
    return context;
}

}  // namespace kms
