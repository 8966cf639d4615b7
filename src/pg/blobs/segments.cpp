#include "pg/blobs/segments.hpp"

#include "crypto/random.hpp"
#include "pg/blobs/direct.hpp"
#include "pg/blobs/reader.hpp"
#include "pg/server/arguments.hpp"

namespace kms::pg {
namespace {

// A segment's number is its version's, 32 bits, and what is drawn for it: an attempt that was
// rolled back, and whose rows somebody may put back, had another.
constexpr unsigned bits_within_version = 32;

std::uint64_t next_number(const OpenBlob& blob) {
    const auto& segments = blob.manifest.segments;
    if (!segments.empty() && segments.back().number >= first_segment(blob)) {
        return segments.back().number + 1;
    }
    std::array<Byte, 4> drawn;
    in_blob(blob, [&] { return random_public(drawn); });
    return first_segment(blob) + (load_be(drawn) >> 1);
}

Status begin_segment(OpenBlob& blob, std::uint64_t number, ByteSpan header) {
    const std::string context = blob_segment_context(blob.id, number);
    KMS_ASSIGN(blob.sealer,
               chunked::MessageSealer::start(blob.keys->segment.view(), bytes_of(context), header));
    return {};
}

Status seal_chunks(chunked::MessageSealer& sealer, ByteView plaintext, std::uint64_t chunks,
                   ByteSpan out) {
    for (; chunks > 0; --chunks) {
        const std::size_t length = std::min(plaintext.size(), chunked::chunk_length);
        const ByteSpan sealed = out.first(length + gcm_tag_length);
        KMS_TRY(length == chunked::chunk_length ? sealer.seal_chunk(plaintext.first(length), sealed)
                                                : sealer.seal_final(plaintext, sealed));
        plaintext = plaintext.subspan(length);
        out = out.subspan(sealed.size());
    }
    return {};
}

struct Segment {
    BlobSegment entry;
    std::uint64_t offset;  // of its first byte in the source
};

varlena* seal_row(OpenBlob& blob, Segment& segment, const BlobRowPlace& row, ByteView plaintext) {
    varlena* data = allocate_value(row.length, blob.subject());
    const ByteSpan header = bytes_in(data).first(row.header);
    in_blob(blob, [&]() -> Status {
        if (!header.empty()) {
            KMS_TRY(begin_segment(blob, segment.entry.number, header));
            copy_bytes(header.last(chunked::commitment_length), segment.entry.commitment);
        }
        return seal_chunks(*blob.sealer, plaintext, row.chunks, bytes_in(data).subspan(row.header));
    });
    return data;
}

void write_row(BlobWriter& writer, OpenBlob& blob, BlobSource& source, Segment& segment,
               std::uint64_t number) {
    const BlobLayout layout = blob.layout_of(segment.entry.length);
    const BlobRowPlace row = layout.row(number);
    const ByteView plaintext = source.read(segment.offset + row.first_chunk * chunked::chunk_length,
                                           layout.plain_in_row(row));
    varlena* data = blob.is_direct
                        ? seal_chunks_directly(blob, segment.entry.number, row, plaintext)
                        : seal_row(blob, segment, row, plaintext);
    writer.insert_chunks(blob.id, segment.entry.number, row.first_chunk, data);
    pfree(data);
}

void write_segment(BlobWriter& writer, OpenBlob& blob, BlobSource& source, Segment& segment) {
    const std::uint64_t rows = blob.layout_of(segment.entry.length).rows();
    for (std::uint64_t row = 0; row < rows; ++row) {
        CHECK_FOR_INTERRUPTS();
        write_row(writer, blob, source, segment, row);
    }
    in_blob(blob, [&]() -> Status {
        blob.sealer.reset();
        blob.manifest.segments.push_back(segment.entry);
        blob.manifest.total_length += segment.entry.length;
        return {};
    });
}

void require_room(const OpenBlob& blob, std::uint64_t length) {
    const std::uint64_t added = (length + max_blob_segment_length - 1) / max_blob_segment_length;
    if (added > max_blob_segments - blob.manifest.segments.size()) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("could not %s: it would have more than %zu segments", blob.action,
                               max_blob_segments),
                        errhint("kms.blob_compact() makes many into few.")));
    }
}

}  // namespace

void write_segments(BlobWriter& writer, OpenBlob& blob, BlobSource& source, std::uint64_t length) {
    require_room(blob, length);
    for (std::uint64_t offset = 0; offset < length; offset += max_blob_segment_length) {
        Segment segment = {
            {next_number(blob), std::min(max_blob_segment_length, length - offset), {}}, offset};
        write_segment(writer, blob, source, segment);
    }
}

void reseal_segments(BlobWriter& writer, OpenBlob& to, OpenBlob& from, Reading& reading) {
    BlobReader reader(from);
    std::uint64_t begin = 0;
    to.key_tag.reset();
    for (const BlobSegment& segment : from.manifest.segments) {
        const BlobLayout layout = from.layout_of(segment.length);
        for (std::uint64_t number = 0; number < layout.rows(); ++number) {
            CHECK_FOR_INTERRUPTS();
            const BlobRowPlace row = layout.row(number);
            reading.now = true;
            const ByteView plaintext = reader.read(begin + row.first_chunk * chunked::chunk_length,
                                                   layout.plain_in_row(row));
            reading.now = false;
            varlena* data = seal_chunks_directly(to, segment.number, row, plaintext);
            writer.update_chunks(to.id, segment.number, row.first_chunk, data);
            pfree(data);
        }
        begin += segment.length;
    }
    reader.end();
}

void rewrap_blob(BlobWriter& writer, std::int32_t to_id, OpenBlob& blob, BlobRow& row,
                 Reading& reading) {
    if (!blob.is_direct) {
        wrap_blob_key(to_id, blob, row);
        writer.update_key(row);
        return;
    }
    OpenBlob& from = open_blob("read", row);
    blob.local_id = to_id;
    reseal_segments(writer, blob, from, reading);
    seal_blob(blob, row);
    writer.update(row);
}

std::uint64_t first_segment(const OpenBlob& blob) {
    return static_cast<std::uint64_t>(blob.version) << bits_within_version;
}

void forget_segments(OpenBlob& blob) {
    blob.manifest.segments.clear();
    blob.manifest.total_length = 0;
    blob.key_tag.reset();
}

}  // namespace kms::pg
