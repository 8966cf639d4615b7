// What reads blobs.
#include "crypto/sha256.hpp"
#include "pg/blobs/blob_arguments.hpp"
#include "pg/blobs/layout.hpp"
#include "pg/blobs/reader.hpp"
#include "pg/server/kept.hpp"
#include "pg/server/rows.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t piece_length = plain_in_full_row;

OpenBlob& open_complete(const char* verb, const BlobId& id) {
    OpenBlob& blob = open_blob(verb, required_blob(id));
    require_complete(blob);
    return blob;
}

Datum read_range(OpenBlob& blob, std::uint64_t start, std::uint64_t length) {
    varlena* data = allocate_value(length, blob.subject());
    BlobReader reader(blob);
    reader.read_into(start, bytes_in(data));
    reader.end();
    PG_RETURN_POINTER(data);
}

void require_to_fit(const OpenBlob& blob) {
    if (blob.manifest.total_length > MaxAllocSize - VARHDRSZ) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("could not %s: too large for one value", blob.action),
                        errdetail("It has " UINT64_FORMAT " bytes.", blob.manifest.total_length),
                        errhint("Read ranges of it with kms.blob_read().")));
    }
}

std::uint64_t rows_of(const OpenBlob& blob) {
    std::uint64_t rows = 0;
    for (const BlobSegment& segment : blob.manifest.segments) {
        rows += blob.layout_of(segment.length).rows();
    }
    return rows;
}

struct Digest {
    std::optional<Sha256> sha256;
};

// All of it, piece by piece.
void digest_blob(OpenBlob& blob, BlobReader& reader, Sha256Digest& digest) {
    auto& kept = keep_in<Digest>(CurrentMemoryContext);
    in_blob(blob, [&]() -> Status {
        KMS_ASSIGN(kept.sha256, Sha256::start());
        return {};
    });
    const std::uint64_t total = blob.manifest.total_length;
    for (std::uint64_t offset = 0; offset < total; offset += piece_length) {
        const ByteView piece = reader.read(offset, std::min(piece_length, total - offset));
        in_blob(blob, [&] { return kept.sha256->add(piece); });
    }
    in_blob(blob, [&]() -> Status {
        KMS_ASSIGN(digest, kept.sha256->finish());
        return {};
    });
}

}  // namespace

KMS_FUNCTION(kms_blob_get) {
    OpenBlob& blob = open_complete("read", blob_id_argument(fcinfo));
    require_to_fit(blob);
    return read_range(blob, 0, blob.manifest.total_length);
}

// Beyond the end there is nothing to read.
KMS_FUNCTION(kms_blob_read) {
    const std::uint64_t start = not_negative(fcinfo, 1, "start");
    const std::uint64_t length = not_negative(fcinfo, 2, "length");
    OpenBlob& blob = open_complete("read", blob_id_argument(fcinfo));
    const std::uint64_t total = blob.manifest.total_length;
    const std::uint64_t from = std::min(start, total);
    return read_range(blob, from, std::min(length, total - from));
}

KMS_FUNCTION(kms_blob_verify) {
    OpenBlob& blob = open_blob("verify", required_blob(blob_id_argument(fcinfo)));
    BlobReader reader(blob);
    Sha256Digest digest;
    digest_blob(blob, reader, digest);
    if (reader.count_rows() != rows_of(blob)) {
        raise_error(blob.subject(), Code::corrupt, "kms.blob_chunk has other rows of it, too.");
    }
    reader.end();
    Datum values[3] = {Int64GetDatum(static_cast<std::int64_t>(blob.manifest.total_length)),
                       bytes_datum(digest), BoolGetDatum(blob.manifest.complete)};
    bool nulls[3] = {};
    return row_datum(fcinfo, values, nulls);
}

}  // namespace kms::pg
