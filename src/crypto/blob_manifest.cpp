#include "crypto/blob_manifest.hpp"

#include "base/fields.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

constexpr Byte manifest_format = 1;
constexpr std::size_t segment_entry_length = 8 + 8 + chunked::commitment_length;
constexpr std::size_t max_manifest_length = 2 + 4 * 8 + 2 * (2 + max_blob_name_length) + 4 +
                                            max_blob_metadata_length + 4 +
                                            max_blob_segments * segment_entry_length;

namespace flag {
constexpr Byte complete = 1;
constexpr Byte expires = 2;
constexpr Byte name = 4;
constexpr Byte content_type = 8;
constexpr Byte metadata = 16;
constexpr Byte all = 31;
}  // namespace flag

Byte flags_of(const BlobManifest& manifest) {
    return static_cast<Byte>(
        (manifest.complete ? flag::complete : 0) | (manifest.expires ? flag::expires : 0) |
        (manifest.name ? flag::name : 0) | (manifest.content_type ? flag::content_type : 0) |
        (manifest.metadata ? flag::metadata : 0));
}

Error damaged() {
    return {Code::corrupt, "the blob's manifest is damaged"};
}

bool fits(const std::optional<SecretBytes>& text, std::size_t most) {
    return !text || text->size() <= most;
}

Status check_sizes(const BlobManifest& manifest) {
    if (manifest.segments.size() > max_blob_segments) {
        return Error{Code::too_large, "a blob has at most 65536 segments"};
    }
    if (!fits(manifest.name, max_blob_name_length) ||
        !fits(manifest.content_type, max_blob_name_length)) {
        return Error{Code::too_large, "a blob's name and content type have less than 64 KiB each"};
    }
    if (!fits(manifest.metadata, max_blob_metadata_length)) {
        return Error{Code::too_large, "a blob's metadata has at most 1 MiB"};
    }
    return {};
}

// Bounded by their number and lengths, the sum cannot overflow.
bool are_coherent(const BlobManifest& manifest) {
    std::uint64_t total = 0;
    const BlobSegment* before = nullptr;
    for (const BlobSegment& segment : manifest.segments) {
        if (segment.length == 0 || segment.length > max_blob_segment_length ||
            (before != nullptr && segment.number <= before->number)) {
            return false;
        }
        total += segment.length;
        before = &segment;
    }
    return total == manifest.total_length;
}

void append_text(SecretBytes& out, std::size_t width, const std::optional<SecretBytes>& text) {
    if (text) {
        append_number(out, width, text->size());
        out.append(text->view());
    }
}

void append_segments(SecretBytes& out, const std::vector<BlobSegment>& segments) {
    append_number(out, 4, segments.size());
    for (const BlobSegment& segment : segments) {
        append_number(out, 8, segment.number);
        append_number(out, 8, segment.length);
        out.append(segment.commitment);
    }
}

std::optional<SecretBytes> parse_text(Cursor& cursor, bool is_there, std::size_t width) {
    if (!is_there) {
        return std::nullopt;
    }
    return SecretBytes::copy_of(cursor.bytes(cursor.number(width)));
}

Result<std::vector<BlobSegment>> parse_segments(Cursor& cursor) {
    const std::uint64_t count = cursor.number(4);
    if (count > max_blob_segments || cursor.left() != count * segment_entry_length) {
        return damaged();
    }
    std::vector<BlobSegment> segments(count);
    for (BlobSegment& segment : segments) {
        segment.number = cursor.number(8);
        segment.length = cursor.number(8);
        cursor.fill(segment.commitment);
    }
    return segments;
}

}  // namespace

Result<SecretBytes> write_manifest(const BlobManifest& manifest) {
    KMS_TRY(check_sizes(manifest));
    if (!are_coherent(manifest)) {
        return Error{Code::invalid, "the blob's segments do not make up the blob"};
    }
    SecretBytes out;
    append_number(out, 1, manifest_format);
    append_number(out, 1, flags_of(manifest));
    append_number(out, 8, manifest.total_length);
    append_number(out, 8, static_cast<std::uint64_t>(manifest.created));
    append_number(out, 8, static_cast<std::uint64_t>(manifest.modified));
    if (manifest.expires) {
        append_number(out, 8, static_cast<std::uint64_t>(*manifest.expires));
    }
    append_text(out, 2, manifest.name);
    append_text(out, 2, manifest.content_type);
    append_text(out, 4, manifest.metadata);
    append_segments(out, manifest.segments);
    return out;
}

Result<BlobManifest> parse_manifest(ByteView bytes) {
    Cursor cursor(bytes);
    if (cursor.number(1) != manifest_format) {
        return Error{Code::unsupported, "the blob's manifest has another version of the format"};
    }
    const std::uint64_t flags = cursor.number(1);
    BlobManifest manifest;
    manifest.complete = (flags & flag::complete) != 0;
    manifest.total_length = cursor.number(8);
    manifest.created = static_cast<std::int64_t>(cursor.number(8));
    manifest.modified = static_cast<std::int64_t>(cursor.number(8));
    if ((flags & flag::expires) != 0) {
        manifest.expires = static_cast<std::int64_t>(cursor.number(8));
    }
    manifest.name = parse_text(cursor, (flags & flag::name) != 0, 2);
    manifest.content_type = parse_text(cursor, (flags & flag::content_type) != 0, 2);
    manifest.metadata = parse_text(cursor, (flags & flag::metadata) != 0, 4);
    KMS_ASSIGN(manifest.segments, parse_segments(cursor));
    if (cursor.failed() || flags > flag::all || !check_sizes(manifest) || !are_coherent(manifest)) {
        return damaged();
    }
    return manifest;
}

Result<SecretBytes> seal_manifest(SealingKey& key, const BlobId& id, std::uint64_t version,
                                  const BlobManifest& manifest) {
    KMS_ASSIGN(const SecretBytes bytes, write_manifest(manifest));
    SecretBytes sealed(key.sealed_size(bytes.size()));
    KMS_TRY(key.seal(bytes.view(), bytes_of(blob_manifest_context(id, version)), sealed.span()));
    return sealed;
}

Result<BlobManifest> open_manifest(SealingKey& key, const BlobId& id, std::uint64_t version,
                                   ByteView sealed) {
    KMS_ASSIGN(const SealedHeader header, parse_sealed(sealed));
    if (header.plaintext_length > max_manifest_length) {
        return damaged();
    }
    SecretBytes bytes(header.plaintext_length);
    KMS_TRY(key.open(sealed, bytes_of(blob_manifest_context(id, version)), bytes.span()));
    return parse_manifest(bytes.view());
}

}  // namespace kms
