// What is done to many blobs at once, in bounded batches: rewrap_blobs and blob_expire.
#include "pg/blobs/blob_arguments.hpp"
#include "pg/blobs/segments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/server/transaction.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/session.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/data_key_writer.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

constexpr long batch_length = 1000;

KeptStatement select_others = {
    "SELECT DISTINCT key_tag FROM kms.blob WHERE key_tag <> $1 ORDER BY key_tag", 1, {BYTEAOID}};
// The first that is not damaged tells whose they all are; one without a key of its own tells
// everybody. That it is among the first few is most likely.
KeptStatement select_samples = {
    "SELECT id FROM kms.blob WHERE key_tag = $1 ORDER BY wrapped NULLS FIRST LIMIT 100",
    1,
    {BYTEAOID}};
KeptStatement select_all = {"SELECT id FROM kms.blob WHERE key_tag = $1", 1, {BYTEAOID}};
KeptStatement lock_blobs = {
    "SELECT id FROM kms.blob WHERE key_tag = $1 FOR NO KEY UPDATE SKIP LOCKED", 1, {BYTEAOID}};
KeptStatement lock_expired = {
    "SELECT coalesce(array_agg(id), '{}') FROM (SELECT id FROM kms.blob WHERE expires <= $1"
    " ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED) locked",
    2,
    {TIMESTAMPTZOID, INT8OID}};
// With a newer snapshot, which has all that was written before they were locked.
KeptStatement delete_locked = {
    "WITH chunks AS (DELETE FROM kms.blob_chunk WHERE blob_id = ANY ($1))"
    " DELETE FROM kms.blob WHERE id = ANY ($1)",
    1,
    {UUIDARRAYOID}};

BlobId id_at(const SPITupleTable* rows, std::uint64_t index) {
    bool is_null = false;
    return uuid_of(SPI_getbinval(rows->vals[index], rows->tupdesc, 1, &is_null));
}

KeyTag tag_at(const SPITupleTable* rows, std::uint64_t index) {
    bool is_null = false;
    return tag_of(bytes_of_datum(SPI_getbinval(rows->vals[index], rows->tupdesc, 1, &is_null)));
}

struct Damage {
    BlobId id;
    const char* reason;  // nullptr: there is none
};

// Blobs that stay as they are, since they do not open.
class DamagedBlobs {
  public:
    void add(const Damage& damage) {
        if (count_ == 0) {
            initStringInfo(&lines_);
        }
        if (count_++ < most_shown) {
            appendStringInfo(&lines_, "%sblob %s: %s", count_ == 1 ? "" : "\n", shown_id(damage.id),
                             damage.reason);
        }
    }

    void tell() const {
        if (count_ != 0) {
            ereport(WARNING,
                    (errmsg("blobs that stay as they are, since they are damaged: %zu", count_),
                     errdetail("%s%s", lines_.data, count_ > most_shown ? "\n..." : ""),
                     errhint("They need the version that they are under. Restore their rows from a "
                             "backup that has them whole; where there is none, the owner of "
                             "kms.blob removes them with kms.blob_delete().")));
        }
    }

  private:
    static constexpr std::size_t most_shown = 5;
    StringInfoData lines_ = {};
    std::size_t count_ = 0;
};

// A blob that may well be whole, but that its key version does not open now. The memory that the
// reason stands in first goes with the subtransaction.
struct Passed {
    BlobId id;
    char reason[256];  // empty: there is none
};

Passed passed(const BlobId& id, const char* reason) {
    Passed blob = {id, {}};
    const int length =
        pg_mbcliplen(reason, static_cast<int>(strlen(reason)), sizeof(blob.reason) - 1);
    memcpy(blob.reason, reason, static_cast<std::size_t>(length));
    return blob;
}

class PassedBlobs {
  public:
    void add(std::size_t count, const Passed& last) {
        count_ += count;
        last_ = count > 0 ? last : last_;
    }

    void tell() const {
        if (count_ != 0) {
            ereport(WARNING,
                    (errmsg("blobs that are passed over, since the key does not open them: %zu",
                            count_),
                     errdetail("One is blob %s: %s.", shown_id(last_.id), last_.reason),
                     errhint("Call kms.rewrap_blobs() again once that is no more in the way.")));
        }
    }

  private:
    std::size_t count_ = 0;
    Passed last_ = {};
};

// What came of those that are not damaged.
struct Tally {
    std::size_t done = 0;
    std::size_t passed = 0;
    Passed last_passed = {};
};

// What blobs under a version tell of whose it is. One that is said to be another's may be damaged:
// a few have to say so.
struct Samples {
    static constexpr int enough_others = 3;

    bool is_ours;
    int others;
    bool is_closed;  // whatever blob is tried
    Passed closed;   // one that the key does not open, for a reason that does not tell
    Damage damage;

    bool are_enough() const { return is_ours || is_closed || others == enough_others; }

    // What is said of a context may be another for the next.
    void take(const BlobId& id, const Unlocked& unlocked) {
        is_ours = unlocked.blob != nullptr;
        if (!is_ours && unlocked.why == Code::wrong_key) {
            ++others;
        } else if (!is_ours) {
            is_closed = unlocked.why != Code::denied || mode() != Mode::remote;
            closed = passed(id, unlocked.reason);
        }
    }
};

class Rewrapping {
  public:
    static constexpr const char* action = "rewrap blobs";

    Rewrapping(BlobWriter& writer, std::int32_t local_id, std::uint64_t most)
        : writer_(writer),
          local_id_(local_id),
          left_(most),
          memory_(AllocSetContextCreate(CurrentMemoryContext, "kms blob", ALLOCSET_DEFAULT_SIZES)) {
    }

    // Every blob that another version of the key wraps.
    std::uint64_t run() {
        forget_key(use_of_local_id(action, local_id_).subject());
        Datum values[1] = {bytes_datum(current_tag({action, local_id_, {}, {}}))};
        const std::uint64_t count = select_others.execute(values);
        const SPITupleTable* others = SPI_tuptable;
        for (std::uint64_t i = 0; i < count && left_ > 0; ++i) {
            const KeyTag tag = tag_at(others, i);
            if (is_of_key(tag)) {
                rewrap_all(tag);
            }
        }
        damaged_.tell();
        passed_.tell();
        return done_;
    }

  private:
    // Whether the blobs under the version with the tag are the key's. Where all are damaged, or the
    // key cannot be had, nobody can tell.
    bool is_of_key(const KeyTag& tag) {
        Samples samples = {};
        for (KeptStatement* blobs : {&select_samples, &select_all}) {
            look_at(*blobs, tag, samples);
        }
        if (samples.is_ours || samples.others == Samples::enough_others) {
            return samples.is_ours;
        }
        if (samples.damage.reason != nullptr) {
            damaged_.add(samples.damage);
        }
        if (samples.closed.reason[0] != '\0') {
            passed_.add(count_blobs(tag), samples.closed);
        }
        return false;
    }

    void look_at(KeptStatement& blobs, const KeyTag& tag, Samples& samples) {
        Datum values[1] = {bytes_datum(tag)};
        Portal cursor = blobs.open(values);
        while (!samples.are_enough()) {
            SPI_cursor_fetch(cursor, true, batch_length);
            if (SPI_processed == 0) {
                break;
            }
            look_at(SPI_tuptable, SPI_processed, tag, samples);
        }
        SPI_cursor_close(cursor);
    }

    void look_at(SPITupleTable* batch, std::uint64_t count, const KeyTag& tag, Samples& samples) {
        for (std::uint64_t i = 0; i < count && !samples.are_enough(); ++i) {
            CHECK_FOR_INTERRUPTS();
            const BlobId id = id_at(batch, i);
            const char* reason = damage_of([&] { look_at(id, tag, samples); });
            if (reason != nullptr) {
                samples.damage = {id, reason};
            }
        }
        SPI_freetuptable(batch);
    }

    // One that is gone, or under another version by now, tells nothing of this one. The snapshot of
    // the statement may be older than the one that the id is from.
    void look_at(const BlobId& id, const KeyTag& tag, Samples& samples) {
        PushActiveSnapshot(GetLatestSnapshot());
        const BlobRow* row = find_blob_row(id);
        if (row != nullptr && row->key_tag == tag) {
            samples.take(id, unlock_blob("rewrap", local_id_, *row));
        }
        PopActiveSnapshot();
    }

    // nullptr, or the reason why a blob does not open. Raises everything else. What is left of a
    // failed attempt may be much, and plaintext.
    template <typename Body>
    const char* damage_of(Body&& body) {
        reading_.now = true;
        ErrorData* error = error_in_subtransaction(body);
        MemoryContextReset(memory_);
        if (error == nullptr) {
            return nullptr;
        }
        if (!reading_.now || error->sqlerrcode != sqlstate::corrupt) {
            ReThrowError(error);
        }
        const char* reason = pstrdup(error->detail != nullptr ? error->detail : error->message);
        FreeErrorData(error);
        return reason;
    }

    void rewrap_all(const KeyTag& tag) {
        Datum values[1] = {bytes_datum(tag)};
        Portal cursor = lock_blobs.open(values);
        while (left_ > 0) {
            SPI_cursor_fetch(cursor, true,
                             static_cast<long>(std::min<std::uint64_t>(left_, batch_length)));
            if (SPI_processed == 0) {
                break;
            }
            rewrap_batch(SPI_tuptable, SPI_processed);
        }
        SPI_cursor_close(cursor);
    }

    void rewrap_batch(SPITupleTable* batch, std::uint64_t count) {
        Tally tally;
        if (damage_of([&] { tally = rewrap_rows(batch, 0, count); }) == nullptr) {
            note(tally);
        } else {
            rewrap_each(batch, count);
        }
        SPI_freetuptable(batch);
    }

    void rewrap_each(SPITupleTable* batch, std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            Tally tally;
            if (const char* reason = damage_of([&] { tally = rewrap_rows(batch, i, 1); })) {
                damaged_.add({id_at(batch, i), reason});
            } else {
                note(tally);
            }
        }
    }

    Tally rewrap_rows(SPITupleTable* batch, std::uint64_t first, std::uint64_t count) {
        Tally tally;
        for (std::uint64_t i = first; i < first + count; ++i) {
            CHECK_FOR_INTERRUPTS();
            MemoryContext caller = MemoryContextSwitchTo(memory_);
            const BlobId id = id_at(batch, i);
            if (const char* reason = rewrap(id)) {
                ++tally.passed;
                tally.last_passed = passed(id, reason);
            } else {
                ++tally.done;
            }
            MemoryContextSwitchTo(caller);
            MemoryContextReset(memory_);
        }
        return tally;
    }

    void note(const Tally& tally) {
        left_ -= tally.done;
        done_ += tally.done;
        passed_.add(tally.passed, tally.last_passed);
    }

    // It is locked: what is there now is what counts. nullptr, or why the key does not do for it,
    // as after its version has been disabled since it was looked at first: that is no damage.
    const char* rewrap(const BlobId& id) {
        PushActiveSnapshot(GetLatestSnapshot());
        BlobRow row = *find_blob_row(id);
        const Unlocked unlocked = unlock_blob("rewrap", local_id_, row);
        if (unlocked.blob != nullptr) {
            reading_.now = false;
            rewrap_blob(writer_, local_id_, *unlocked.blob, row, reading_);
            reading_.now = true;
        }
        PopActiveSnapshot();
        return unlocked.blob != nullptr ? nullptr : unlocked.reason;
    }

    BlobWriter& writer_;
    std::int32_t local_id_;
    std::uint64_t left_;
    std::uint64_t done_ = 0;
    DamagedBlobs damaged_;
    PassedBlobs passed_;
    Reading reading_;
    MemoryContext memory_;
};

}  // namespace

KMS_FUNCTION(kms_blob_expire) {
    require_writable("kms.blob_expire()");
    const std::int32_t most = required_int(fcinfo, 0, "most");
    if (most < 1) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("most must be positive")));
    }
    Datum values[2] = {TimestampTzGetDatum(GetCurrentTimestamp()), Int64GetDatum(most)};
    BlobWriter writer;
    (void)lock_expired.execute(values);
    bool is_null = false;
    Datum ids[1] = {SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null)};
    const std::uint64_t count = delete_locked.execute(ids);
    writer.end();
    PG_RETURN_INT64(static_cast<std::int64_t>(count));
}

KMS_FUNCTION(kms_rewrap_blobs) {
    require_writable("kms.rewrap_blobs()");
    const std::int32_t local_id = required_int(fcinfo, 0, "local_id");
    const std::int64_t most = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);
    if (most < 1) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("most must be positive")));
    }
    BlobWriter writer;
    const std::uint64_t count =
        Rewrapping(writer, local_id, static_cast<std::uint64_t>(most)).run();
    writer.end();
    PG_RETURN_INT64(static_cast<std::int64_t>(count));
}

}  // namespace kms::pg
