// How far a run is: a row of kms.reencryption for other sessions, NOTICEs for the caller, and an
// advisory lock that says whether the run still lives.
#include "pg/owner.hpp"
#include "pg/rewriting.hpp"

namespace kms::pg {
namespace {

// The objsubid that the view kms.reencrypt_progress names: "kr". pg_advisory_lock() has 1 and 2.
constexpr uint16 our_kind = 0x6b72;

constexpr std::int64_t between_notices_ms = 5000;

LOCKTAG lock_of(const Rewriting& run) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, run.relation, static_cast<uint32>(run.target),
                         our_kind);
    return tag;
}

void change_progress(const char* statement, int parameters, Oid* types, Datum* values) {
    const Oid table = get_relname_relid("reencryption", get_namespace_oid("kms", false));
    (void)change_as_owner({table, statement, parameters, types, values});
}

double seconds_left(const Rewriting& run) {
    const double passed =
        static_cast<double>(GetCurrentTimestamp() - run.began) / static_cast<double>(USECS_PER_SEC);
    const auto left = static_cast<double>(std::max<std::int64_t>(run.total - run.done, 0));
    return run.done != 0 ? left * passed / static_cast<double>(run.done) : 0;
}

const char* reason_of(const BadRow& bad) {
    if (bad.relation == InvalidOid) {
        return "A trigger has kept them.";
    }
    return psprintf("One of them is at ctid (%u,%u) of \"%s\": %s.",
                    ItemPointerGetBlockNumber(&bad.place), ItemPointerGetOffsetNumber(&bad.place),
                    get_rel_name(bad.relation), bad.reason);
}

}  // namespace

void lock_run(const Rewriting& run) {
    const LOCKTAG tag = lock_of(run);
    if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                        errmsg("%s is being rewritten by another session", column_label(run)),
                        errhint("Watch it in the view kms.reencrypt_progress.")));
    }
}

void unlock_run(const Rewriting& run) {
    const LOCKTAG tag = lock_of(run);
    (void)LockRelease(&tag, ExclusiveLock, true);
}

// Rows of tables that are gone go too.
void begin_progress(const Rewriting& run) {
    change_progress(
        "DELETE FROM kms.reencryption AS p WHERE NOT EXISTS ("
        "SELECT FROM pg_class AS c WHERE c.oid = p.relation)",
        0, nullptr, nullptr);
    Oid types[] = {OIDOID, INT2OID};
    Datum values[] = {ObjectIdGetDatum(run.relation), Int16GetDatum(run.target)};
    change_progress(
        "INSERT INTO kms.reencryption (relation, attribute) VALUES ($1, $2) "
        "ON CONFLICT (relation, attribute) DO UPDATE SET phase = DEFAULT, "
        "rows_done = DEFAULT, rows_total = NULL, rows_skipped = DEFAULT, "
        "started = DEFAULT, updated = DEFAULT",
        lengthof(types), types, values);
}

void write_progress(const Rewriting& run, const char* phase) {
    Oid types[] = {OIDOID, INT2OID, TEXTOID, INT8OID, INT8OID, INT8OID};
    Datum values[] = {ObjectIdGetDatum(run.relation),
                      Int16GetDatum(run.target),
                      text_datum(phase),
                      Int64GetDatum(run.done),
                      Int64GetDatum(run.total),
                      Int64GetDatum(run.bad_in_pass + run.left)};
    change_progress(
        "UPDATE kms.reencryption SET phase = $3, rows_done = $4, rows_total = $5, "
        "rows_skipped = $6, updated = clock_timestamp() "
        "WHERE relation = $1 AND attribute = $2",
        lengthof(types), types, values);
}

void tell_progress(Rewriting& run) {
    const TimestampTz now = GetCurrentTimestamp();
    if (TimestampDifferenceExceeds(run.told, now, between_notices_ms)) {
        run.told = now;
        ereport(NOTICE, (errmsg("%s: %lld of %lld rows, about %.0f s left", column_label(run),
                                static_cast<long long>(run.done), static_cast<long long>(run.total),
                                seconds_left(run))));
    }
}

void tell_end(const Rewriting& run) {
    const char* column = column_label(run);
    ereport(NOTICE, (errmsg("%s: %lld rows %s", column, static_cast<long long>(run.done),
                            run.is_first_time() ? "encrypted" : "re-encrypted")));
    if (run.left != 0) {
        ereport(WARNING,
                (errmsg("%s: %lld rows are left", column, static_cast<long long>(run.left)),
                 errdetail("Other sessions keep them locked, or go on writing such rows."),
                 errhint("Call it again later.")));
    }
    if (run.bad_in_pass != 0) {
        ereport(ERROR, (errcode(run.example.relation != InvalidOid
                                    ? run.example.sqlstate
                                    : ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("%s: %lld rows stayed as they are", column,
                               static_cast<long long>(run.bad_in_pass)),
                        errdetail("%s", reason_of(run.example)),
                        errhint("All other rows are done. kms.census() tells what there is.")));
    }
}

}  // namespace kms::pg
