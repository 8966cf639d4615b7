// The keys of a blob, and the contexts of what belongs to it (doc/formats.md, "Blob").
#pragma once

#include <array>
#include <string>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/sealed.hpp"

namespace kms {

constexpr std::size_t blob_id_length = 16;
using BlobId = std::array<Byte, blob_id_length>;

constexpr std::size_t blob_key_length = 32;

// What is drawn from a blob's own key, which is random and never used as it is.
struct BlobKeys {
    SecretBytes segment;  // the input key of every segment's message
    SealingKey manifest;  // with the manifest's tag

    // `blob_key`: 32 bytes (else Code::invalid).
    static Result<BlobKeys> derive(ByteView blob_key);
};

// Of the blob's key, where it is wrapped.
std::string blob_key_context(const BlobId& id);
bool is_blob_key_context(ByteView context);

// Of a segment's message.
std::string blob_segment_context(const BlobId& id, std::uint64_t segment);

std::string blob_manifest_context(const BlobId& id, std::uint64_t version);

// Of a chunk that goes through the agent, where it is a sealed value of its own.
std::string blob_chunk_context(const BlobId& id, std::uint64_t segment, std::uint64_t chunk,
                               bool final);

}  // namespace kms
