#include "pg/stored/made_versions.hpp"

#include "pg/server/arguments.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/stored/data_keys.hpp"

namespace kms::pg {
namespace {

struct Made {
    KeyTag tag;
    const char* shown_name;
    std::uint32_t version;
    SubTransactionId made_in;  // or in one that is over, inside of it
    bool has_sealed;
    Made* next;
};

// In the transaction's memory.
Made* made = nullptr;
const Made* lost = nullptr;  // the first that has sealed and was rolled back

void at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
                           void* /*argument*/) {
    for (Made* each = made; each != nullptr; each = each->next) {
        if (each->made_in != mine) {
            continue;
        }
        if (event == SUBXACT_EVENT_COMMIT_SUB) {
            each->made_in = parent;
        } else if (event == SUBXACT_EVENT_ABORT_SUB) {
            each->made_in = InvalidSubTransactionId;
            lost = lost == nullptr && each->has_sealed ? each : lost;
        }
    }
}

void refuse_loss() {
    if (lost != nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("a value was sealed under version %u of data key \"%s\", which was rolled "
                        "back to a savepoint",
                        lost->version, lost->shown_name),
                 errdetail("Nobody could open it, wherever it was stored."),
                 errhint("Create and rotate data keys before the savepoint, or before the block "
                         "with EXCEPTION.")));
    }
}

void at_transaction_end(XactEvent event, void* /*argument*/) {
    if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) {
        refuse_loss();
    } else {
        made = nullptr;
        lost = nullptr;
    }
}

void watch_transactions() {
    static bool watching = false;
    if (!watching) {
        RegisterXactCallback(at_transaction_end, nullptr);
        RegisterSubXactCallback(at_subtransaction_end, nullptr);
        watching = true;
    }
}

// What the leader has made in a subtransaction a worker sees, and the leader does not hear who
// seals.
void require_made_for_good(const KeyTag& tag) {
    const DataKeyRow* row = find_data_key(tag);
    const bool is_of_subtransaction = row != nullptr &&
                                      TransactionIdIsCurrentTransactionId(row->key.written_by) &&
                                      row->key.written_by != GetTopTransactionIdIfAny();
    if (is_of_subtransaction) {
        ereport(
            ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("a parallel worker does not seal under version %u of data key \"%s\", which "
                    "stands behind a savepoint",
                    row->key.version, shown_identifier(row->name)),
             errhint("Create and rotate data keys before the savepoint, or "
                     "SET max_parallel_workers_per_gather = 0.")));
    }
}

}  // namespace

void note_made(ByteView name, std::uint32_t version, const KeyTag& tag) {
    if (!IsSubTransaction()) {
        return;
    }
    watch_transactions();
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    auto* latest = static_cast<Made*>(palloc(sizeof(Made)));
    *latest = {tag, shown_identifier(name), version, GetCurrentSubTransactionId(), false, made};
    made = latest;
    MemoryContextSwitchTo(caller);
}

void note_sealing(const KeyTag& tag) {
    if (IsParallelWorker()) {
        require_made_for_good(tag);
    }
    for (Made* each = made; each != nullptr; each = each->next) {
        each->has_sealed = each->has_sealed || each->tag == tag;
    }
}

}  // namespace kms::pg
