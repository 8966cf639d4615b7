// What is said of blobs: blob_meta and blob_list.
#include "pg/blobs/blob_arguments.hpp"
#include "pg/blobs/unlock.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/rows.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t columns_count = 10;

// name, content_type, metadata, size, version, created, last_modified, expires_at, complete,
// segments
struct Description {
    Datum values[columns_count];
    bool nulls[columns_count];
};

// In the database's encoding.
const char* shown_text(const SecretBytes& text) {
    const char* copy = pnstrdup(text_of(text.view()).data(), text.size());
    return pg_any_to_server(copy, static_cast<int>(text.size()), PG_UTF8);
}

Datum text_or_null(const std::optional<SecretBytes>& text, bool& is_null) {
    is_null = !text;
    return is_null ? 0 : PointerGetDatum(cstring_to_text(shown_text(*text)));
}

Datum json_or_null(const std::optional<SecretBytes>& text, bool& is_null) {
    is_null = !text;
    return is_null ? 0 : DirectFunctionCall1(jsonb_in, CStringGetDatum(shown_text(*text)));
}

Description describe(const OpenBlob& blob, const BlobRow& row) {
    const BlobManifest& manifest = blob.manifest;
    Description it = {};
    it.values[0] = text_or_null(manifest.name, it.nulls[0]);
    it.values[1] = text_or_null(manifest.content_type, it.nulls[1]);
    it.values[2] = json_or_null(manifest.metadata, it.nulls[2]);
    it.values[3] = Int64GetDatum(static_cast<std::int64_t>(manifest.total_length));
    it.values[4] = Int64GetDatum(row.version);
    it.values[5] = TimestampTzGetDatum(row.created);
    it.values[6] = TimestampTzGetDatum(timestamp_of(std::chrono::microseconds(manifest.modified)));
    it.values[7] = TimestampTzGetDatum(row.expiry);
    it.nulls[7] = !row.expires;
    it.values[8] = BoolGetDatum(manifest.complete);
    it.values[9] = Int32GetDatum(static_cast<std::int32_t>(manifest.segments.size()));
    return it;
}

bool has_prefix(const BlobManifest& manifest, ByteView prefix) {
    const ByteView name = manifest.name ? manifest.name->view() : ByteView();
    return name.size() >= prefix.size() && std::ranges::equal(name.first(prefix.size()), prefix);
}

void add_row(RowSet& rows, const OpenBlob& blob, const BlobRow& row) {
    const Description it = describe(blob, row);
    Datum values[1 + columns_count] = {uuid_datum(row.id)};
    bool nulls[1 + columns_count] = {};
    std::copy(std::begin(it.values), std::end(it.values), values + 1);
    std::copy(std::begin(it.nulls), std::end(it.nulls), nulls + 1);
    rows.add(values, nulls);
}

// They would be taken for gone: what they are called cannot be told.
void warn_of_retired(std::uint64_t count) {
    if (count != 0) {
        ereport(WARNING,
                (errmsg("not listed: " UINT64_FORMAT " blobs under key versions that are disabled "
                        "or destroyed",
                        count),
                 errhint("Where one is disabled, kms.enable_key() brings its blobs back.")));
    }
}

void warn_of_unknown(const FoundKeys& found) {
    if (found.unknown() != 0) {
        ereport(WARNING,
                (errmsg("not listed: " UINT64_FORMAT
                        " blobs that may be of a bound key which cannot be had",
                        found.unknown()),
                 errdetail(
                     "One such key is \"%s\", with local id %d.",
                     shown_identifier(use_of_local_id("describe blob", found.closed()).identifier),
                     found.closed()),
                 errhint("kms.blob_meta() of such a blob tells what is in the way.")));
    }
}

}  // namespace

KMS_FUNCTION(kms_blob_meta) {
    const BlobRow& row = required_blob(blob_id_argument(fcinfo));
    Description it = describe(open_blob("describe", row), row);
    return row_datum(fcinfo, it.values, it.nulls, Rows::secret);
}

// Those that the session has the keys of.
KMS_FUNCTION(kms_blob_list) {
    const ByteView prefix = utf8_of(required_bytes(fcinfo, 0, "prefix"));
    RowSet rows(fcinfo, Rows::secret);
    FoundKeys found;
    MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms blob", ALLOCSET_DEFAULT_SIZES);
    BlobScan scan;
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        MemoryContextReset(memory);
        MemoryContext caller = MemoryContextSwitchTo(memory);
        const BlobRow* row = scan.next();
        if (row != nullptr && !row->has_expired()) {
            const OpenBlob* blob = try_open_blob("describe", *row, &found);
            if (blob != nullptr && has_prefix(blob->manifest, prefix)) {
                add_row(rows, *blob, *row);
            }
        }
        MemoryContextSwitchTo(caller);
        if (row == nullptr) {
            break;
        }
    }
    scan.end();
    MemoryContextDelete(memory);
    warn_of_retired(found.retired());
    warn_of_unknown(found);
    PG_RETURN_NULL();
}

}  // namespace kms::pg
