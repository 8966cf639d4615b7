// The transactions of a run, and the arguments that say what it is about.
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/transaction.hpp"

namespace kms::pg {
namespace {

int batch_argument(FunctionCallInfo fcinfo, int index) {
    constexpr int most = 1000000;
    const std::int32_t batch = required_int(fcinfo, index, "batch");
    if (batch < 1 || batch > most) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("batch must be between 1 and %d rows, not %d", most, batch)));
    }
    return batch;
}

std::int64_t pause_argument(FunctionCallInfo fcinfo, int index) {
    required(fcinfo, index, "pause");
    const Interval* pause = PG_GETARG_INTERVAL_P(index);
    constexpr double a_day = USECS_PER_DAY;
    const double microseconds = static_cast<double>(pause->time) + a_day * pause->day +
                                a_day * DAYS_PER_MONTH * pause->month;
    if (microseconds < 0 || microseconds > a_day) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("pause must be between 0 and a day")));
    }
    return static_cast<std::int64_t>(microseconds / 1000);
}

Triggers triggers_argument(FunctionCallInfo fcinfo, int index) {
    required(fcinfo, index, "triggers");
    const std::string_view word = text_of(bytes_argument(fcinfo, index));
    if (word == "refuse") {
        return Triggers::refuse;
    }
    if (word == "fire") {
        return Triggers::fire;
    }
    if (word != "skip") {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("triggers must be refuse, fire or skip")));
    }
    if (!superuser()) {
        ereport(
            ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to skip triggers"),
             errdetail("It is as with session_replication_role: a superuser may."),
             errhint(
                 "Let a superuser call it. Do not disable a trigger that seals: what is written "
                 "meanwhile would go past it.")));
    }
    return Triggers::skip;
}

}  // namespace

void require_non_atomic(FunctionCallInfo fcinfo, const char* procedure) {
    const auto* call = reinterpret_cast<const CallContext*>(fcinfo->context);
    if (call == nullptr || !IsA(call, CallContext) || call->atomic || IsSubTransaction()) {
        ereport(ERROR,
                (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                 errmsg("%s cannot run inside a transaction block", procedure),
                 errdetail("It commits after each batch."),
                 errhint("CALL it by itself: not behind BEGIN, nor in a function or in a procedure "
                         "with a SET clause, nor in a block with EXCEPTION.")));
    }
    PreventCommandIfReadOnly(procedure);
    if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) {
        elog(ERROR, "SPI_connect failed");
    }
}

// READ COMMITTED whatever the default is: a row that somebody changed must not end the run. The
// snapshot is the portal's, which a commit takes away by itself.
void begin_batch() {
    CHECK_FOR_INTERRUPTS();
    XactIsoLevel = XACT_READ_COMMITTED;
    EnsurePortalSnapshotExists();
}

void begin_read_committed() {
    if (IsolationUsesXactSnapshot()) {
        commit_batch();
        begin_batch();
    }
}

void begin_behind_others(Oid relation) {
    commit_batch();
    begin_batch();
    LockRelationOid(relation, ShareUpdateExclusiveLock);
}

void commit_batch() {
    commit_here();
}

void sleep_for(std::int64_t milliseconds) {
    const TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        const long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
        if (left <= 0) {
            return;
        }
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left,
                        PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
    }
}

Oid relation_argument(FunctionCallInfo fcinfo, int index) {
    required(fcinfo, index, "relation");
    const Oid relation = PG_GETARG_OID(index);
    if (get_rel_name(relation) == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("relation with OID %u does not exist", relation)));
    }
    return relation;
}

AttrNumber column_argument(FunctionCallInfo fcinfo, int index, Oid relation) {
    required(fcinfo, index, "column_name");
    const char* name = NameStr(*PG_GETARG_NAME(index));
    const AttrNumber attribute = get_attnum(relation, name);
    if (attribute <= 0) {
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("column \"%s\" does not exist", name)));
    }
    return attribute;
}

void read_run_arguments(FunctionCallInfo fcinfo, Rewriting& run, int batch_index) {
    run.relation = relation_argument(fcinfo, 0);
    run.source = column_argument(fcinfo, 1, run.relation);
    run.batch = batch_argument(fcinfo, batch_index);
    run.pause_ms = pause_argument(fcinfo, batch_index + 1);
    run.triggers = triggers_argument(fcinfo, batch_index + 2);
}

const char* column_label(const Rewriting& run) {
    const char* table = get_rel_name(run.relation);
    const char* column = get_attname(run.relation, run.target, true);
    return psprintf("column \"%s\" of \"%s\"", column != nullptr ? column : "(dropped)",
                    table != nullptr ? table : "(dropped)");
}

}  // namespace kms::pg
