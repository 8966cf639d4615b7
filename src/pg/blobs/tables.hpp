// The tables kms.blob and kms.blob_chunk. PostgreSQL side.
//
// Read without regard to the caller's privileges, and changed in the name of the extension's owner:
// who may do what with blobs is a matter of EXECUTE on the functions, and of keys.
#pragma once

#include <span>

#include "base/bytes.hpp"
#include "crypto/algorithm.hpp"
#include "crypto/blob_keys.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {

// Manifests have times since 1970, PostgreSQL since 2000.
constexpr std::int64_t microseconds_apart =
    (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
constexpr TimestampTz last_blob_time = PG_INT64_MAX - microseconds_apart;

// Times after last_blob_time are only in rows that somebody has changed, and become others.
inline std::int64_t unix_time(TimestampTz time) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(time) + microseconds_apart);
}

// Views are of the memory context that it was read in.
struct BlobRow {
    BlobId id;
    KeyTag key_tag;
    ByteView wrapped;
    ByteView manifest;
    std::int64_t version;
    TimestampTz created;
    bool expires;
    TimestampTz expiry;
    int size_class;

    bool has_expired() const { return expires && expiry <= GetCurrentTimestamp(); }
};

// By the active snapshot; an expired one too. nullptr: there is none.
const BlobRow* find_blob_row(const BlobId& id);

// The same, or nullptr where it has expired.
const BlobRow* find_blob(const BlobId& id);

// All of them, in no order, as the active snapshot shows them; expired ones too.
class BlobScan {
  public:
    BlobScan();
    const BlobRow* next();  // in the current memory context; nullptr: there are no more
    void end();

  private:
    Relation table_;
    SysScanDesc scan_;
};

// Blobs that need the key version with this tag: by the newest snapshot.
std::uint64_t count_blobs(const KeyTag& tag);
bool has_blobs();

Oid blob_table();
constexpr AttrNumber blob_wrapped_column = 3;
Oid blob_chunk_table();

// Changes of the tables between its making and end(), in the memory of SPI, which end() lets go of.
// A failure in between needs no end().
class BlobWriter {
  public:
    BlobWriter();
    void end();

    // Locks the row, and makes what is now there the active snapshot. nullptr: there is no such
    // blob, or it has expired.
    const BlobRow* lock(const BlobId& id);

    void insert(const BlobRow& row);
    void update(const BlobRow& row);  // all but id and created
    void update_key(const BlobRow& row);
    void remove(const BlobId& id);  // with its chunks

    void insert_chunks(const BlobId& id, std::uint64_t segment, std::uint64_t first_chunk,
                       varlena* data);
    void update_chunks(const BlobId& id, std::uint64_t segment, std::uint64_t first_chunk,
                       varlena* data);
    // Of segments with smaller numbers.
    void remove_chunks(const BlobId& id, std::uint64_t below_segment);

  private:
    bool has_snapshot_ = false;
};

// A statement whose plan is kept for the session. Executed between SPI_connect and SPI_finish, in
// the owner's name.
struct KeptStatement {
    const char* text;
    int parameters;
    Oid types[9];
    SPIPlanPtr plan = nullptr;

    std::uint64_t execute(Datum* values, const char* nulls = nullptr);  // the number of rows
    Portal open(Datum* values);

  private:
    void prepare();
};

Datum uuid_datum(const BlobId& id);
BlobId uuid_of(Datum datum);

// For messages.
const char* shown_id(const BlobId& id);

}  // namespace kms::pg
