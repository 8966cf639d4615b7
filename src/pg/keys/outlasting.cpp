#include "pg/keys/outlasting.hpp"

#include "pg/columns/registry.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/transaction.hpp"
#include "pg/session/settings.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

// False: there are none. `oldest`: only those whose snapshot may be as old; else all.
bool outlast_running_transactions(TransactionId oldest) {
    int count = 0;
    const VirtualTransactionId* running = other_transactions(oldest, count);
    for (int i = 0; i < count; ++i) {
        (void)VirtualXactLock(running[i], true);
    }
    return count != 0;
}

// A snapshot may be handed on to a transaction that begins later.
void outlast_older_snapshots(Snapshot before) {
    while (outlast_running_transactions(before->xmin)) {
    }
}

void outlast_prepared_transactions() {
    const Caller caller = act_as_owner_of(registered_column_table());
    SPI_connect();
    if (SPI_execute("SELECT transaction FROM pg_prepared_xacts WHERE database = current_database()",
                    false, 0) != SPI_OK_SELECT) {
        elog(ERROR, "could not read pg_prepared_xacts");
    }
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        bool is_null = false;
        const Datum transaction =
            SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null);
        XactLockTableWait(DatumGetTransactionId(transaction), nullptr, nullptr, XLTW_None);
    }
    SPI_finish();
    act_as(caller);
}

}  // namespace

// Whatever the mode of this one is.
void outlast_caches(ByteView identifier, std::uint32_t version) {
    const auto seconds = cache_ttl().count();
    if (seconds == 0) {
        return;
    }
    ereport(NOTICE, (errmsg("waiting %d s for sessions that may hold version %u of key \"%s\"",
                            static_cast<int>(seconds), version, shown_identifier(identifier)),
                     errdetail("The time is kms.cache_ttl.")));
    (void)DirectFunctionCall1(pg_sleep, Float8GetDatum(static_cast<double>(seconds)));
}

// One that has sealed a value and not yet stored it has no number of its own.
void outlast_others(Snapshot before) {
    (void)outlast_running_transactions(InvalidTransactionId);
    outlast_prepared_transactions();
    outlast_older_snapshots(before);
}

}  // namespace kms::pg
