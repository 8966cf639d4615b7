// How far a run is: a row of kms.reencryption for other sessions, NOTICEs for the caller, and an
// advisory lock that says whether the run still lives.
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/lock_spaces.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

constexpr std::int64_t between_notices_ms = 5000;

// Of the server's own kind: code that runs meanwhile, a trigger's, cannot let go of it by
// pg_advisory_unlock_all().
LOCKTAG lock_of(const Rewriting& run) {
    LOCKTAG tag = lock_in(LockSpace::run, run.relation, static_cast<uint32>(run.target));
    tag.locktag_lockmethodid = DEFAULT_LOCKMETHOD;
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

const char* shown_bad(const BadRows& rows) {
    StringInfoData lines;
    initStringInfo(&lines);
    for (std::int64_t i = 0; i < std::min(rows.count, BadRows::most_shown); ++i) {
        const BadRow& row = rows.shown[i];
        appendStringInfo(&lines, "%sctid (%u,%u) of \"%s\": %s (%s)", i == 0 ? "" : "\n",
                         ItemPointerGetBlockNumber(&row.place),
                         ItemPointerGetOffsetNumber(&row.place), get_rel_name(row.relation),
                         row.reason, unpack_sql_state(row.sqlstate));
    }
    if (rows.count > BadRows::most_shown) {
        appendStringInfoString(&lines, "\n...");
    }
    return lines.data;
}

bool moves_context(const Rewriting& run) {
    return run.is_move() && !is_same_context(run.began_with->was, run.began_with->now());
}

// Where none is done it may be the type, the key or the context that is wrong, and not the rows.
const char* how_to_begin_anew(const Rewriting& run) {
    return run.is_between_columns() && run.done == 0
               ? psprintf(
                     " To give up instead, drop the trigger that keeps column \"%s\" in step, "
                     "and then the column.",
                     get_attname(run.relation, run.target, false))
               : "";
}

const char* how_to_enable(const BadRows& rows) {
    const std::span<const BadRow> shown(rows.shown, std::min(rows.count, BadRows::most_shown));
    return std::ranges::count(shown, sqlstate::disabled, &BadRow::sqlstate) != 0
               ? " A version that is disabled is enabled by kms.enable_key() or "
                 "kms.enable_data_key(); values of one that is destroyed are lost, and are told of "
                 "until they are NULL or their rows are gone."
               : "";
}

const char* what_writers_meet(const Rewriting& run) {
    const bool is_of_each_row = run.began_with->key_expression != nullptr;
    return is_of_each_row && run.is_between_columns()
               ? " Until then writes of values that cannot be sealed are refused."
               : "";
}

[[noreturn]] void raise_bad(const Rewriting& run) {
    const BadRows& rows = run.bad_in_pass;
    const auto count = static_cast<long long>(rows.count);
    ereport(
        ERROR,
        (errcode(rows.shown[0].sqlstate),
         run.has_given_up
             ? errmsg("%s: too many rows raise errors, %lld of them", column_label(run), count)
             : errmsg("%s: %lld rows stayed as they are", column_label(run), count),
         errdetail("%s", shown_bad(rows)),
         errhint("%s%s%s%s",
                 run.has_given_up ? "Mend what they have in common and CALL it again: it goes on."
                 : moves_context(run)
                     ? "All other rows are done. Mend these and CALL it again. A value whose "
                       "context of before has changed opens again once the column of that is set "
                       "back."
                     : "All other rows are done. Mend these and CALL it again.",
                 how_to_enable(rows), what_writers_meet(run), how_to_begin_anew(run))));
    pg_unreachable();
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
        "rows_done = DEFAULT, rows_total = NULL, rows_skipped = DEFAULT, rows_failed = DEFAULT, "
        "started = DEFAULT, updated = DEFAULT",
        lengthof(types), types, values);
}

void write_progress(const Rewriting& run, const char* phase) {
    Oid types[] = {OIDOID, INT2OID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID};
    Datum values[] = {ObjectIdGetDatum(run.relation),
                      Int16GetDatum(run.target),
                      text_datum(phase),
                      Int64GetDatum(run.done),
                      Int64GetDatum(run.total),
                      Int64GetDatum(run.left),
                      Int64GetDatum(run.bad_in_pass.count)};
    change_progress(
        "UPDATE kms.reencryption SET phase = $3, rows_done = $4, rows_total = $5, "
        "rows_skipped = $6, rows_failed = $7, updated = clock_timestamp() "
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
    ereport(NOTICE,
            (errmsg("%s: %lld rows %s", column, static_cast<long long>(run.done), run.has_done)));
    if (run.left != 0) {
        ereport(WARNING,
                (errmsg("%s: %lld rows are left", column, static_cast<long long>(run.left)),
                 errdetail("Other sessions keep them locked, or go on writing such rows."),
                 errhint("Call it again later.")));
    }
    if (run.open_writers != 0) {
        ereport(WARNING,
                (errmsg("%s: %lld transactions that write to the table are still open", column,
                        static_cast<long long>(run.open_writers)),
                 errdetail("Rows of theirs may be sealed as before, and the move is not over."),
                 errhint("Call it again when they have ended.")));
    }
    if (run.bad_in_pass.count != 0) {
        raise_bad(run);
    }
}

void note_bad(BadRows& rows, Oid relation, const ItemPointerData& place, int sqlstate,
              const char* reason) {
    if (rows.count < BadRows::most_shown) {
        BadRow& row = rows.shown[rows.count];
        row.relation = relation;
        row.place = place;
        row.sqlstate = sqlstate;
        const auto length = static_cast<int>(strlen(reason));
        const int cut = pg_mbcliplen(reason, length, static_cast<int>(sizeof(row.reason)) - 1);
        *std::copy_n(reason, cut, row.reason) = '\0';
    }
    ++rows.count;
}

void add_bad(BadRows& rows, const BadRows& more) {
    const std::int64_t room = std::max<std::int64_t>(BadRows::most_shown - rows.count, 0);
    std::copy_n(more.shown, std::min({more.count, BadRows::most_shown, room}),
                rows.shown + (BadRows::most_shown - room));
    rows.count += more.count;
}

}  // namespace kms::pg
