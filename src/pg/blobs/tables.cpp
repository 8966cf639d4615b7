#include "pg/blobs/tables.hpp"

#include "pg/server/arguments.hpp"
#include "pg/tables/own_table.hpp"

namespace kms::pg {
namespace {

enum Column : int {
    id_column = 1,
    key_tag_column,
    wrapped_column = blob_wrapped_column,
    manifest_column,
    version_column,
    created_column,
    expires_column,
    size_class_column
};

// More than there ever is. What somebody has made longer is cut, and then does not open.
constexpr std::int32_t longest_wrapped = 1 << 10;
constexpr std::int32_t longest_manifest = 8 << 20;

// None for NULL.
ByteView stored_bytes(const OwnRow& row, Column column, std::int32_t longest) {
    if (!row.has(column)) {
        return {};
    }
    const Datum datum = row[column];
    const auto* value = reinterpret_cast<const varlena*>(DatumGetPointer(datum));
    if (!stands_in_its_row(value)) {
        value = reinterpret_cast<const varlena*>(PG_DETOAST_DATUM_SLICE(datum, 0, longest));
    }
    return bytes_of_packed(value);
}

// In the current memory context.
const BlobRow* row_of(Relation table, HeapTuple tuple) {
    const OwnRow row(table, tuple);
    const bool expires = row.has(expires_column);
    auto* blob = static_cast<BlobRow*>(palloc(sizeof(BlobRow)));
    *blob = {.id = uuid_of(row[id_column]),
             .key_tag = tag_of(stored_bytes(row, key_tag_column, key_tag_length)),
             .wrapped = stored_bytes(row, wrapped_column, longest_wrapped),
             .manifest = stored_bytes(row, manifest_column, longest_manifest),
             .version = DatumGetInt64(row[version_column]),
             .created = DatumGetTimestampTz(row[created_column]),
             .expires = expires,
             .expiry = expires ? DatumGetTimestampTz(row[expires_column]) : 0,
             .size_class = DatumGetInt32(row[size_class_column])};
    return blob;
}

KeptStatement lock_row = {"SELECT FROM kms.blob WHERE id = $1 FOR NO KEY UPDATE", 1, {UUIDOID}};
KeptStatement insert_row = {
    "INSERT INTO kms.blob (id, key_tag, wrapped, manifest, version, created, expires,"
    " size_class) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    8,
    {UUIDOID, BYTEAOID, BYTEAOID, BYTEAOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}};
KeptStatement update_row = {
    "UPDATE kms.blob SET key_tag = $2, wrapped = $3, manifest = $4, version = $5, expires = $7,"
    " size_class = $8 WHERE id = $1 AND created = $6",
    8,
    {UUIDOID, BYTEAOID, BYTEAOID, BYTEAOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}};
KeptStatement update_row_key = {"UPDATE kms.blob SET key_tag = $2, wrapped = $3 WHERE id = $1",
                                3,
                                {UUIDOID, BYTEAOID, BYTEAOID}};
KeptStatement delete_row = {"DELETE FROM kms.blob WHERE id = $1", 1, {UUIDOID}};
KeptStatement insert_chunk_row = {
    "INSERT INTO kms.blob_chunk (blob_id, segment, chunk, data) VALUES ($1, $2, $3, $4)",
    4,
    {UUIDOID, INT8OID, INT4OID, BYTEAOID}};
KeptStatement update_chunk_row = {
    "UPDATE kms.blob_chunk SET data = $4 WHERE blob_id = $1 AND segment = $2 AND chunk = $3",
    4,
    {UUIDOID, INT8OID, INT4OID, BYTEAOID}};
KeptStatement delete_chunk_rows = {"DELETE FROM kms.blob_chunk WHERE blob_id = $1", 1, {UUIDOID}};
KeptStatement delete_older_chunk_rows = {
    "DELETE FROM kms.blob_chunk WHERE blob_id = $1 AND segment < $2", 2, {UUIDOID, INT8OID}};

// Whoever has locked the row has just read it.
void require_one(std::uint64_t count) {
    if (count != 1) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("a row of kms.blob has changed meanwhile")));
    }
}

void write(KeptStatement& statement, const BlobRow& row) {
    Datum values[8] = {uuid_datum(row.id),
                       bytes_datum(row.key_tag),
                       bytes_datum(row.wrapped),
                       bytes_datum(row.manifest),
                       Int64GetDatum(row.version),
                       TimestampTzGetDatum(row.created),
                       TimestampTzGetDatum(row.expiry),
                       Int32GetDatum(row.size_class)};
    char nulls[] = "        ";
    nulls[wrapped_column - 1] = row.wrapped.empty() ? 'n' : ' ';
    nulls[expires_column - 1] = row.expires ? ' ' : 'n';
    require_one(statement.execute(values, nulls));
}

void write_chunks(KeptStatement& statement, const BlobId& id, std::uint64_t segment,
                  std::uint64_t first_chunk, varlena* data) {
    Datum values[4] = {uuid_datum(id), Int64GetDatum(static_cast<std::int64_t>(segment)),
                       Int32GetDatum(static_cast<std::int32_t>(first_chunk)),
                       PointerGetDatum(data)};
    require_one(statement.execute(values));
}

}  // namespace

void KeptStatement::prepare() {
    if (plan != nullptr) {
        return;
    }
    const SPIPlanPtr made = SPI_prepare(text, parameters, types);
    if (made == nullptr || SPI_keepplan(made) != 0) {
        elog(ERROR, "could not prepare: %s", text);
    }
    plan = made;
}

std::uint64_t KeptStatement::execute(Datum* values, const char* nulls) {
    const Caller caller = act_as_owner_of(blob_table());
    prepare();
    if (SPI_execute_plan(plan, values, nulls, false, 0) < 0) {
        elog(ERROR, "could not execute: %s", text);
    }
    act_as(caller);
    return SPI_processed;
}

Portal KeptStatement::open(Datum* values) {
    const Caller caller = act_as_owner_of(blob_table());
    prepare();
    Portal cursor = SPI_cursor_open(nullptr, plan, values, nullptr, false);
    act_as(caller);
    return cursor;
}

const BlobRow* find_blob_row(const BlobId& id) {
    const Relation table = table_open(blob_table(), AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, id_column, BTEqualStrategyNumber, F_UUID_EQ, uuid_datum(id));
    SysScanDesc scan =
        systable_beginscan(table, primary_key_of(table), true, GetActiveSnapshot(), 1, &key);
    const HeapTuple tuple = systable_getnext(scan);
    const BlobRow* row = tuple != nullptr ? row_of(table, tuple) : nullptr;
    systable_endscan(scan);
    table_close(table, AccessShareLock);
    return row;
}

const BlobRow* find_blob(const BlobId& id) {
    const BlobRow* row = find_blob_row(id);
    return row != nullptr && !row->has_expired() ? row : nullptr;
}

BlobScan::BlobScan()
    : table_(table_open(blob_table(), AccessShareLock)),
      scan_(systable_beginscan(table_, InvalidOid, false, GetActiveSnapshot(), 0, nullptr)) {}

const BlobRow* BlobScan::next() {
    const HeapTuple tuple = systable_getnext(scan_);
    return tuple != nullptr ? row_of(table_, tuple) : nullptr;
}

void BlobScan::end() {
    systable_endscan(scan_);
    table_close(table_, AccessShareLock);
}

std::uint64_t count_blobs(const KeyTag& tag) {
    const Caller caller = act_as_owner_of(blob_table());
    SPI_connect();
    Oid types[1] = {BYTEAOID};
    Datum values[1] = {bytes_datum(tag)};
    const SPIPlanPtr plan =
        SPI_prepare("SELECT count(*) FROM kms.blob WHERE key_tag = $1", 1, types);
    if (plan == nullptr || SPI_execute_snapshot(plan, values, nullptr, GetActiveSnapshot(),
                                                InvalidSnapshot, true, false, 1) < 0) {
        elog(ERROR, "could not count blobs");
    }
    bool is_null = false;
    const Datum count = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
    const auto result = static_cast<std::uint64_t>(DatumGetInt64(count));
    SPI_finish();
    act_as(caller);
    return result;
}

bool has_blobs() {
    const Relation table = table_open(blob_table(), AccessShareLock);
    SysScanDesc scan = systable_beginscan(table, InvalidOid, false, nullptr, 0, nullptr);
    const bool found = systable_getnext(scan) != nullptr;
    systable_endscan(scan);
    table_close(table, AccessShareLock);
    return found;
}

Oid blob_table() {
    return own_table("blob");
}

Oid blob_chunk_table() {
    return own_table("blob_chunk");
}

BlobWriter::BlobWriter() {
    SPI_connect();
}

void BlobWriter::end() {
    if (has_snapshot_) {
        PopActiveSnapshot();
    }
    SPI_finish();
}

const BlobRow* BlobWriter::lock(const BlobId& id) {
    Datum values[1] = {uuid_datum(id)};
    if (lock_row.execute(values) == 0) {
        return nullptr;
    }
    PushActiveSnapshot(GetTransactionSnapshot());
    has_snapshot_ = true;
    return find_blob(id);
}

void BlobWriter::insert(const BlobRow& row) {
    write(insert_row, row);
}

void BlobWriter::update(const BlobRow& row) {
    write(update_row, row);
}

void BlobWriter::update_key(const BlobRow& row) {
    Datum values[3] = {uuid_datum(row.id), bytes_datum(row.key_tag), bytes_datum(row.wrapped)};
    require_one(update_row_key.execute(values));
}

void BlobWriter::remove(const BlobId& id) {
    Datum values[1] = {uuid_datum(id)};
    (void)delete_chunk_rows.execute(values);
    require_one(delete_row.execute(values));
}

void BlobWriter::insert_chunks(const BlobId& id, std::uint64_t segment, std::uint64_t first_chunk,
                               varlena* data) {
    write_chunks(insert_chunk_row, id, segment, first_chunk, data);
}

void BlobWriter::update_chunks(const BlobId& id, std::uint64_t segment, std::uint64_t first_chunk,
                               varlena* data) {
    write_chunks(update_chunk_row, id, segment, first_chunk, data);
}

void BlobWriter::remove_chunks(const BlobId& id, std::uint64_t below_segment) {
    Datum values[2] = {uuid_datum(id), Int64GetDatum(static_cast<std::int64_t>(below_segment))};
    (void)delete_older_chunk_rows.execute(values);
}

Datum uuid_datum(const BlobId& id) {
    auto* uuid = static_cast<pg_uuid_t*>(palloc(sizeof(pg_uuid_t)));
    copy_bytes(id, uuid->data);
    return UUIDPGetDatum(uuid);
}

BlobId uuid_of(Datum datum) {
    BlobId id;
    copy_bytes(DatumGetUUIDP(datum)->data, id);
    return id;
}

const char* shown_id(const BlobId& id) {
    return DatumGetCString(DirectFunctionCall1(uuid_out, uuid_datum(id)));
}

}  // namespace kms::pg
