#include "pg/blobs/blob_arguments.hpp"

#include "pg/server/sqlstates.hpp"

namespace kms::pg {
namespace {

using Text = std::optional<SecretBytes>;

void take_text(OpenBlob& blob, Text BlobManifest::*which, ByteView text) {
    in_blob(blob, [&]() -> Status {
        blob.manifest.*which = SecretBytes::copy_of(text);
        return {};
    });
}

int next_level(JsonbIteratorToken token, int level) {
    switch (token) {
        case WJB_BEGIN_ARRAY:
        case WJB_BEGIN_OBJECT:
            return level + 1;
        case WJB_END_ARRAY:
        case WJB_END_OBJECT:
            return level - 1;
        default:
            return level;
    }
}

// Reading it back takes stack for each level, and blob_list() reads that of all blobs.
void require_flat(Jsonb* json) {
    constexpr int most_nested = 1000;
    JsonbIterator* iterator = JsonbIteratorInit(&json->root);
    JsonbValue value;
    int level = 0;
    for (;;) {
        const JsonbIteratorToken token = JsonbIteratorNext(&iterator, &value, false);
        level = next_level(token, level);
        if (level > most_nested) {
            ereport(ERROR,
                    (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                     errmsg("the metadata is nested more than %d levels deep", most_nested)));
        }
        if (token == WJB_DONE) {
            return;
        }
    }
}

ByteView json_argument(FunctionCallInfo fcinfo, int index) {
    Jsonb* json = PG_GETARG_JSONB_P(index);
    require_flat(json);
    return bytes_of(JsonbToCString(nullptr, &json->root, VARSIZE(json)));
}

[[noreturn]] void raise_invalid(const char* what) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what)));
    pg_unreachable();
}

// One that microseconds since 1970 can tell, too.
TimestampTz finite_time(TimestampTz time, const char* otherwise) {
    if (TIMESTAMP_NOT_FINITE(time)) {
        raise_invalid(otherwise);
    }
    if (time > last_blob_time) {
        ereport(ERROR,
                (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
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
    row.expiry =
        finite_time(PG_ARGISNULL(in) ? PG_GETARG_TIMESTAMPTZ(at) : time_after(PG_GETARG_DATUM(in)),
                    "a blob's expiry must be finite");
    if (row.has_expired()) {
        raise_invalid("a blob cannot have expired already");
    }
}

}  // namespace

BlobId blob_id_argument(FunctionCallInfo fcinfo) {
    required(fcinfo, 0, "id");
    return uuid_of(PG_GETARG_DATUM(0));
}

std::uint64_t not_negative(FunctionCallInfo fcinfo, int index, const char* name) {
    required(fcinfo, index, name);
    const std::int64_t value = PG_GETARG_INT64(index);
    if (value < 0) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s must not be negative", name)));
    }
    return static_cast<std::uint64_t>(value);
}

void raise_no_blob(const BlobId& id) {
    ereport(ERROR, (errcode(sqlstate::no_blob), errmsg("there is no blob %s", shown_id(id)),
                    errdetail("Nor is one there that has expired.")));
    pg_unreachable();
}

ByteView utf8_of(ByteView text) {
    const char* here = text_of(text).data();
    const char* utf8 = pg_server_to_any(here, static_cast<int>(text.size()), PG_UTF8);
    return utf8 == here ? text : bytes_of(utf8);
}

const BlobRow& required_blob(BlobId id) {
    const BlobRow* row = find_blob(id);
    if (row == nullptr) {
        raise_no_blob(id);
    }
    return *row;
}

void take_description(FunctionCallInfo fcinfo, int first, OpenBlob& blob, BlobRow& row) {
    if (!PG_ARGISNULL(first)) {
        take_text(blob, &BlobManifest::name, utf8_of(bytes_argument(fcinfo, first)));
    }
    if (!PG_ARGISNULL(first + 1)) {
        take_text(blob, &BlobManifest::content_type, utf8_of(bytes_argument(fcinfo, first + 1)));
    }
    if (!PG_ARGISNULL(first + 2)) {
        take_text(blob, &BlobManifest::metadata, utf8_of(json_argument(fcinfo, first + 2)));
    }
    take_expiry(fcinfo, first + 3, first + 4, row);
    if (!PG_ARGISNULL(first + 5)) {
        blob.manifest.modified = unix_time(
            finite_time(PG_GETARG_TIMESTAMPTZ(first + 5), "last_modified must be finite"));
    }
}

}  // namespace kms::pg
