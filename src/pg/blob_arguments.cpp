#include "pg/blob_arguments.hpp"

#include "pg/sqlstates.hpp"

namespace kms::pg {
namespace {

using Text = std::optional<SecretBytes>;

void take_text(OpenBlob& blob, Text BlobManifest::*which, ByteView text) {
    in_blob(blob, [&]() -> Status {
        blob.manifest.*which = SecretBytes::copy_of(text);
        return {};
    });
}

ByteView json_argument(FunctionCallInfo fcinfo, int index) {
    Jsonb* json = PG_GETARG_JSONB_P(index);
    return bytes_of(JsonbToCString(nullptr, &json->root, VARSIZE(json)));
}

[[noreturn]] void raise_invalid(const char* what) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what)));
    pg_unreachable();
}

TimestampTz finite_time(FunctionCallInfo fcinfo, int index, const char* otherwise) {
    const TimestampTz time = PG_GETARG_TIMESTAMPTZ(index);
    if (TIMESTAMP_NOT_FINITE(time)) {
        raise_invalid(otherwise);
    }
    return time;
}

TimestampTz time_after(Datum interval) {
    return DatumGetTimestampTz(DirectFunctionCall2(
        timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()), interval));
}

// Either of the arguments; none leaves the row as it is.
void take_expiry(FunctionCallInfo fcinfo, int at, int in, BlobRow& row) {
    if (PG_ARGISNULL(at) && PG_ARGISNULL(in)) {
        return;
    }
    if (!PG_ARGISNULL(at) && !PG_ARGISNULL(in)) {
        raise_invalid("a blob has expires_at or expire_in, not both");
    }
    row.expires = true;
    row.expiry = PG_ARGISNULL(in) ? finite_time(fcinfo, at, "expires_at must be finite")
                                  : time_after(PG_GETARG_DATUM(in));
    if (row.has_expired()) {
        raise_invalid("a blob cannot have expired already");
    }
}

}  // namespace

BlobId blob_id_argument(FunctionCallInfo fcinfo) {
    required(fcinfo, 0, "id");
    return uuid_of(PG_GETARG_DATUM(0));
}

void raise_no_blob(const BlobId& id) {
    ereport(ERROR, (errcode(sqlstate::no_blob), errmsg("there is no blob %s", shown_id(id)),
                    errdetail("Nor is one there that has expired.")));
    pg_unreachable();
}

const BlobRow& required_blob(const BlobId& id) {
    const BlobRow* row = find_blob(id);
    if (row == nullptr) {
        raise_no_blob(id);
    }
    return *row;
}

void take_description(FunctionCallInfo fcinfo, int first, OpenBlob& blob, BlobRow& row) {
    if (!PG_ARGISNULL(first)) {
        take_text(blob, &BlobManifest::name, bytes_argument(fcinfo, first));
    }
    if (!PG_ARGISNULL(first + 1)) {
        take_text(blob, &BlobManifest::content_type, bytes_argument(fcinfo, first + 1));
    }
    if (!PG_ARGISNULL(first + 2)) {
        take_text(blob, &BlobManifest::metadata, json_argument(fcinfo, first + 2));
    }
    take_expiry(fcinfo, first + 3, first + 4, row);
    if (!PG_ARGISNULL(first + 5)) {
        row.modified = finite_time(fcinfo, first + 5, "last_modified must be finite");
    }
}

}  // namespace kms::pg
