// What makes, changes and deletes blobs. Everything is the transaction's: rolled back, nothing of
// it has been.
#include "pg/blobs/blob_arguments.hpp"
#include "pg/blobs/reader.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/server/transaction.hpp"
#include "pg/tables/owner.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

// Its number is the upper part of its segments' numbers.
constexpr std::int64_t max_version = (std::int64_t{1} << 31) - 1;

// A blob that is locked, read and about to be changed.
struct BlobChange {
    BlobRow row;
    OpenBlob& blob;
};

const BlobRow& lock_blob(BlobWriter& writer, const BlobId& id) {
    const BlobRow* row = writer.lock(id);
    if (row == nullptr) {
        raise_no_blob(id);
    }
    return *row;
}

void require_version(FunctionCallInfo fcinfo, int index, const BlobRow& row) {
    if (!PG_ARGISNULL(index) && PG_GETARG_INT64(index) != row.version) {
        ereport(ERROR, (errcode(sqlstate::other_version),
                        errmsg("blob %s has another version than " INT64_FORMAT, shown_id(row.id),
                               PG_GETARG_INT64(index)),
                        errdetail("Its version is " INT64_FORMAT ".", row.version)));
    }
}

// Of pieces that are sent without waiting for answers: what follows one that is missing does not
// take its place.
void require_size(FunctionCallInfo fcinfo, int index, const OpenBlob& blob) {
    const std::uint64_t size = blob.manifest.total_length;
    if (!PG_ARGISNULL(index) && not_negative(fcinfo, index, "at") != size) {
        ereport(ERROR, (errcode(sqlstate::other_size),
                        errmsg("blob %s does not end at " INT64_FORMAT, shown_id(blob.id),
                               PG_GETARG_INT64(index)),
                        errdetail("Its size is " UINT64_FORMAT ".", size),
                        errhint("Go on at the size and the version that kms.blob_meta() tells.")));
    }
}

BlobChange begin_change(FunctionCallInfo fcinfo, int if_version, BlobWriter& writer,
                        const char* verb) {
    const BlobRow row = lock_blob(writer, blob_id_argument(fcinfo));
    OpenBlob& blob = open_blob(verb, row);
    require_version(fcinfo, if_version, row);
    if (blob.version >= max_version) {
        raise_error(blob.subject(), Code::too_large, "It has too many versions.");
    }
    ++blob.version;
    return {row, blob};
}

// All of a direct blob is under one version of its key: segments that stay come along.
BlobChange begin_addition(FunctionCallInfo fcinfo, int if_version, BlobWriter& writer,
                          const char* verb) {
    BlobChange change = begin_change(fcinfo, if_version, writer, verb);
    OpenBlob& blob = change.blob;
    const KeyTag& before = change.row.key_tag;
    const Call current = {blob.action, blob.local_id, {}, {}, {}, before};
    if (blob.is_direct && current_tag(current) != before) {
        Reading reading;
        reseal_segments(writer, blob, open_blob("read", change.row), reading);
    }
    return change;
}

Datum end_change(BlobWriter& writer, BlobChange& change) {
    seal_blob(change.blob, change.row);
    writer.update(change.row);
    writer.end();
    PG_RETURN_INT64(change.row.version);
}

// From contents that a source has, in the memory of the writer.
void insert_blob(BlobWriter& writer, OpenBlob& blob, BlobRow& row, BlobSource& source,
                 std::uint64_t length) {
    write_segments(writer, blob, source, length);
    seal_blob(blob, row);
    writer.insert(row);
}

// Segments of this version replace all that were before.
void replace_segments(BlobWriter& writer, OpenBlob& blob, BlobSource& source,
                      std::uint64_t length) {
    forget_segments(blob);
    write_segments(writer, blob, source, length);
    writer.remove_chunks(blob.id, first_segment(blob));
}

bool is_compact(const BlobManifest& manifest) {
    const std::uint64_t least =
        (manifest.total_length + max_blob_segment_length - 1) / max_blob_segment_length;
    return manifest.segments.size() == least;
}

void copy_text(OpenBlob& to, const OpenBlob& from,
               std::optional<SecretBytes> BlobManifest::*which) {
    in_blob(to, [&]() -> Status {
        const auto& text = from.manifest.*which;
        if (text) {
            to.manifest.*which = SecretBytes::copy_of(text->view());
        }
        return {};
    });
}

void copy_description(OpenBlob& to, BlobRow& to_row, const OpenBlob& from, const BlobRow& row) {
    to_row.expires = row.expires;
    to_row.expiry = row.expiry;
    to.manifest.modified = from.manifest.modified;
    to.manifest.complete = true;
    copy_text(to, from, &BlobManifest::name);
    copy_text(to, from, &BlobManifest::content_type);
    copy_text(to, from, &BlobManifest::metadata);
}

void clear_one(BlobChange& change, std::string_view what) {
    BlobManifest& manifest = change.blob.manifest;
    if (what == "name") {
        manifest.name.reset();
    } else if (what == "content_type") {
        manifest.content_type.reset();
    } else if (what == "metadata") {
        manifest.metadata.reset();
    } else if (what == "expires_at") {
        change.row.expires = false;
    } else {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("clear names name, content_type, metadata or expires_at")));
    }
}

void clear_description(FunctionCallInfo fcinfo, int index, BlobChange& change) {
    required(fcinfo, index, "clear");
    Datum* words = nullptr;
    bool* nulls = nullptr;
    int count = 0;
    deconstruct_array(PG_GETARG_ARRAYTYPE_P(index), TEXTOID, -1, false, TYPALIGN_INT, &words,
                      &nulls, &count);
    for (int i = 0; i < count; ++i) {
        if (nulls[i]) {
            raise_null("an element of clear");
        }
        clear_one(change, text_of(bytes_of_datum(words[i])));
    }
}

}  // namespace

KMS_FUNCTION(kms_blob_put) {
    require_writable("kms.blob_put()");
    const std::int32_t local_id = required_int(fcinfo, 0, "local_id");
    const ByteView data = required_bytes(fcinfo, 1, "data");
    const bool complete = required_bool(fcinfo, 8, "complete");
    BlobRow row = {};
    OpenBlob& blob = make_blob(local_id, row);
    blob.manifest.modified = unix_time(row.created);
    take_description(fcinfo, 2, blob, row);
    blob.manifest.complete = complete;
    BytesSource source(data);
    BlobWriter writer;
    insert_blob(writer, blob, row, source, data.size());
    writer.end();
    return uuid_datum(row.id);
}

KMS_FUNCTION(kms_blob_append) {
    require_writable("kms.blob_append()");
    const ByteView data = required_bytes(fcinfo, 1, "data");
    BlobWriter writer;
    BlobChange change = begin_addition(fcinfo, 2, writer, "append to");
    require_size(fcinfo, 4, change.blob);
    bool& complete = change.blob.manifest.complete;
    if (!PG_ARGISNULL(3)) {
        if (complete && !PG_GETARG_BOOL(3)) {
            raise_error(change.blob.subject(), Code::invalid, "It is complete already.");
        }
        complete = PG_GETARG_BOOL(3);
    }
    BytesSource source(data);
    write_segments(writer, change.blob, source, data.size());
    change.blob.manifest.modified = unix_time(GetCurrentTimestamp());
    return end_change(writer, change);
}

KMS_FUNCTION(kms_blob_replace) {
    require_writable("kms.blob_replace()");
    const ByteView data = required_bytes(fcinfo, 1, "data");
    BlobWriter writer;
    BlobChange change = begin_change(fcinfo, 2, writer, "replace");
    BytesSource source(data);
    replace_segments(writer, change.blob, source, data.size());
    change.blob.manifest.complete = true;
    change.blob.manifest.modified = unix_time(GetCurrentTimestamp());
    return end_change(writer, change);
}

// What cannot be made less is left as it is.
KMS_FUNCTION(kms_blob_compact) {
    require_writable("kms.blob_compact()");
    BlobWriter writer;
    BlobChange change = begin_change(fcinfo, 1, writer, "compact");
    OpenBlob& from = open_blob("compact", change.row);
    require_complete(from);
    if (is_compact(from.manifest)) {
        const std::int64_t version = change.row.version;
        writer.end();  // and all that was read is freed
        PG_RETURN_INT64(version);
    }
    BlobReader reader(from);
    replace_segments(writer, change.blob, reader, from.manifest.total_length);
    reader.end();
    return end_change(writer, change);
}

KMS_FUNCTION(kms_blob_set_meta) {
    require_writable("kms.blob_set_meta()");
    BlobWriter writer;
    BlobChange change = begin_addition(fcinfo, 8, writer, "describe");
    clear_description(fcinfo, 7, change);
    take_description(fcinfo, 1, change.blob, change.row);
    return end_change(writer, change);
}

KMS_FUNCTION(kms_blob_copy) {
    require_writable("kms.blob_copy()");
    const BlobRow& from_row = required_blob(blob_id_argument(fcinfo));
    OpenBlob& from = open_blob("copy", from_row);
    require_complete(from);
    BlobRow row = {};
    const std::int32_t local_id = PG_ARGISNULL(1) ? from.local_id : PG_GETARG_INT32(1);
    OpenBlob& blob = make_blob(local_id, row, from_row.key_tag);
    copy_description(blob, row, from, from_row);
    BlobReader reader(from);
    BlobWriter writer;
    insert_blob(writer, blob, row, reader, from.manifest.total_length);
    writer.end();
    reader.end();
    return uuid_datum(row.id);
}

// Whoever may delete rows of the table may do so without a key.
KMS_FUNCTION(kms_blob_delete) {
    require_writable("kms.blob_delete()");
    const BlobId id = blob_id_argument(fcinfo);
    BlobWriter writer;
    const BlobRow* row = writer.lock(id);
    if (row == nullptr) {
        writer.end();
        PG_RETURN_BOOL(false);
    }
    if (!caller_owns(blob_table())) {
        open_blob("delete", *row);
    }
    require_version(fcinfo, 1, *row);
    writer.remove(id);
    writer.end();
    PG_RETURN_BOOL(true);
}

KMS_FUNCTION(kms_blob_recode) {
    require_writable("kms.blob_recode()");
    const std::int32_t to_id = required_int(fcinfo, 1, "to_id");
    BlobWriter writer;
    BlobRow row = lock_blob(writer, blob_id_argument(fcinfo));
    Reading reading;
    rewrap_blob(writer, to_id, open_blob("recode", row), row, reading);
    writer.end();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
