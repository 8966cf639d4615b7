// What a blob consists of, and its metadata (doc/formats.md, "Blob"). Numbers are big-endian.
//
//     manifest = format(1) = 1 | flags(1) | total length(8) | created(8) | modified(8) | expires(8)
//              | name length(2) | name | content type length(2) | content type
//              | metadata length(4) | metadata | count(4) | segment...
//     segment  = number(8) | length(8) | commitment(32)
//
// flags: 1 complete; 2 expires, 4 name, 8 content type, 16 metadata are there: what is not has
// neither length nor bytes. Times: microseconds since 1970. Segments are in the order of their
// numbers, which is that of their bytes; none is empty, and the lengths add up to the total length.
// There is one way to write a manifest, and nothing else is read.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/blob_keys.hpp"
#include "crypto/chunked_encryption.hpp"

namespace kms {

constexpr std::uint64_t max_blob_segment_length = std::uint64_t{64} << 20;
constexpr std::size_t max_blob_segments = std::size_t{1} << 16;
constexpr std::size_t max_blob_name_length = (std::size_t{1} << 16) - 1;
constexpr std::size_t max_blob_metadata_length = std::size_t{1} << 20;

struct BlobSegment {
    std::uint64_t number;  // never used again for other bytes
    std::uint64_t length;  // of its plaintext: 1 to 64 MiB
    chunked::Commitment commitment;

    bool operator==(const BlobSegment&) const = default;
};

struct BlobManifest {
    bool complete = false;  // a blob without all its segments is not to be read
    std::uint64_t total_length = 0;
    std::int64_t created = 0;
    std::int64_t modified = 0;
    std::optional<std::int64_t> expires;
    std::optional<SecretBytes> name;          // at most 64 KiB - 1
    std::optional<SecretBytes> content_type;  // at most 64 KiB - 1
    std::optional<SecretBytes> metadata;      // the user's, JSON as text; at most 1 MiB
    std::vector<BlobSegment> segments;        // at most 65,536
};

// Sealed with suite 0x01; the context binds id and version. Code::too_large: a part is longer than
// it may be; Code::invalid: no manifest should say that.
Result<SecretBytes> seal_manifest(SealingKey& key, const BlobId& id, std::uint64_t version,
                                  const BlobManifest& manifest);

// Code::malformed, Code::wrong_key, Code::corrupt; Code::unsupported: another version of the
// format.
Result<BlobManifest> open_manifest(SealingKey& key, const BlobId& id, std::uint64_t version,
                                   ByteView sealed);

// What is sealed. Code::corrupt for anything but what write_manifest writes.
Result<SecretBytes> write_manifest(const BlobManifest& manifest);
Result<BlobManifest> parse_manifest(ByteView bytes);

}  // namespace kms
