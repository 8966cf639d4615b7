#include "pg/columns/census_scan.hpp"

namespace kms::pg {
namespace {

// What a leader and its workers share.
enum Part : uint64 { job_part = 1, scan_part, answers_part };

struct Job {
    Oid relation;
    AttrNumber attribute;
};

// What a worker has counted, on its way to its leader.
struct Answer {
    std::uint64_t count;
    CensusEntry entries[FLEXIBLE_ARRAY_MEMBER];
};

constexpr Size queue_size = Size{64} * 1024;  // of a worker's answer

bool any_row(TupleTableSlot* /*row*/) {
    return true;
}

template <typename Counts>
void count_rows_in(TableScanDesc scan, Relation table, AttrNumber attribute, CensusCounter& counter,
                   Counts&& counts) {
    TupleTableSlot* row = table_slot_create(table, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, row)) {
        CHECK_FOR_INTERRUPTS();
        if (!counts(row)) {
            continue;
        }
        bool is_null = false;
        const Datum value = slot_getattr(row, attribute, &is_null);
        if (!is_null) {
            counter.count(reinterpret_cast<varlena*>(DatumGetPointer(value)));
        }
    }
    ExecDropSingleTupleTableSlot(row);
    table_endscan(scan);
}

void count_alone(Relation table, AttrNumber attribute, CensusCounter& counter) {
    count_rows_in(begin_scan(table, GetActiveSnapshot()), table, attribute, counter, any_row);
}

// The pages that no other process has taken.
void count_share(shm_toc* shared, Relation table, AttrNumber attribute, CensusCounter& counter) {
    auto* scan = static_cast<ParallelTableScanDesc>(shm_toc_lookup(shared, scan_part, false));
    count_rows_in(begin_shared_scan(table, scan), table, attribute, counter, any_row);
}

shm_mq* queue_of(shm_toc* shared, int worker) {
    auto* queues = static_cast<char*>(shm_toc_lookup(shared, answers_part, false));
    return reinterpret_cast<shm_mq*>(queues + static_cast<Size>(worker) * queue_size);
}

// Temporary tables are in this process's memory.
int useful_workers(Relation table) {
    if (IsInParallelMode() || !IsUnderPostmaster ||
        table->rd_rel->relpersistence == RELPERSISTENCE_TEMP) {
        return 0;
    }
    auto* shape = make_node<RelOptInfo>(T_RelOptInfo);
    shape->reloptkind = RELOPT_BASEREL;
    shape->rel_parallel_workers = RelationGetParallelWorkers(table, -1);
    return compute_parallel_worker(shape, RelationGetNumberOfBlocks(table), -1,
                                   max_parallel_workers_per_gather);
}

void share_out(ParallelContext* context, Relation table, AttrNumber attribute) {
    const auto queues = static_cast<Size>(context->nworkers) * queue_size;
    const Size scan_size = table_parallelscan_estimate(table, GetActiveSnapshot());
    shm_toc_estimate_chunk(&context->estimator, sizeof(Job));
    shm_toc_estimate_chunk(&context->estimator, scan_size);
    shm_toc_estimate_chunk(&context->estimator, queues);
    shm_toc_estimate_keys(&context->estimator, 3);
    InitializeParallelDSM(context);
    auto* job = static_cast<Job*>(shm_toc_allocate(context->toc, sizeof(Job)));
    *job = {RelationGetRelid(table), attribute};
    shm_toc_insert(context->toc, job_part, job);
    auto* scan = static_cast<ParallelTableScanDesc>(shm_toc_allocate(context->toc, scan_size));
    table_parallelscan_initialize(table, scan, GetActiveSnapshot());
    shm_toc_insert(context->toc, scan_part, scan);
    shm_toc_insert(context->toc, answers_part, shm_toc_allocate(context->toc, queues));
}

shm_mq_handle** make_queues(ParallelContext* context) {
    auto** queues = static_cast<shm_mq_handle**>(
        palloc(static_cast<Size>(context->nworkers + 1) * sizeof(shm_mq_handle*)));
    for (int i = 0; i < context->nworkers; ++i) {
        shm_mq* queue = shm_mq_create(queue_of(context->toc, i), queue_size);
        shm_mq_set_receiver(queue, MyProc);
        queues[i] = shm_mq_attach(queue, context->seg, nullptr);
    }
    return queues;
}

// False: the worker has failed, or never began.
bool add_answer(shm_mq_handle* queue, CensusCounter& counter) {
    Size length = 0;
    void* data = nullptr;
    if (shm_mq_receive(queue, &length, &data, false) != SHM_MQ_SUCCESS) {
        return false;
    }
    const auto* answer = static_cast<const Answer*>(data);
    counter.add({answer->entries, answer->count});
    return true;
}

void send_answer(shm_mq_handle* queue, const CensusCounter& counter) {
    const std::span<const CensusEntry> entries = counter.entries();
    const auto size = offsetof(Answer, entries) + entries.size_bytes();
    auto* answer = static_cast<Answer*>(palloc(size));
    answer->count = entries.size();
    std::memcpy(answer->entries, entries.data(), entries.size_bytes());
    (void)send_to_leader(queue, size, answer);
}

// Of rows that a worker has read and not told of, its own error is thrown, and never a lower count.
void count_with_workers(Relation table, AttrNumber attribute, int workers, CensusCounter& counter) {
    EnterParallelMode();
    ParallelContext* context = CreateParallelContext("$libdir/kms", "kms_census_worker", workers);
    share_out(context, table, attribute);
    shm_mq_handle** queues = make_queues(context);
    LaunchParallelWorkers(context);
    for (int i = 0; i < context->nworkers_launched; ++i) {
        shm_mq_set_handle(queues[i], context->worker[i].bgwhandle);
    }
    count_share(context->toc, table, attribute, counter);
    bool all_have_answered = true;
    for (int i = 0; i < context->nworkers_launched; ++i) {
        all_have_answered = add_answer(queues[i], counter) && all_have_answered;
    }
    WaitForParallelWorkersToFinish(context);
    if (!all_have_answered) {
        elog(ERROR, "a worker that was to count rows of \"%s\" gave no answer",
             RelationGetRelationName(table));
    }
    DestroyParallelContext(context);
    ExitParallelMode();
}

// Who may have it under a snapshot from before is waited for elsewhere.
bool is_for_anybody(TupleTableSlot* row, Snapshot before) {
    const Buffer buffer = reinterpret_cast<BufferHeapTupleTableSlot*>(row)->buffer;
    TransactionId deleter = InvalidTransactionId;
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const HTSV_Result state = HeapTupleSatisfiesVacuumHorizon(
        ExecFetchSlotHeapTuple(row, false, nullptr), buffer, &deleter);
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    return state == HEAPTUPLE_RECENTLY_DEAD ? XidInMVCCSnapshot(deleter, before)
                                            : state != HEAPTUPLE_DEAD;
}

}  // namespace

void count_rows_for_anybody(Relation table, AttrNumber attribute, Snapshot before,
                            CensusCounter& counter) {
    if (table->rd_rel->relam != HEAP_TABLE_AM_OID) {
        count_alone(table, attribute, counter);
        return;
    }
    count_rows_in(begin_scan(table, SnapshotAny), table, attribute, counter,
                  [&](TupleTableSlot* row) { return is_for_anybody(row, before); });
}

void count_rows_of(Relation table, AttrNumber attribute, CensusCounter& counter) {
    const int workers = useful_workers(table);
    if (workers == 0) {
        count_alone(table, attribute, counter);
    } else {
        count_with_workers(table, attribute, workers, counter);
    }
}

extern "C" PGDLLEXPORT void kms_census_worker(dsm_segment* segment, shm_toc* shared);

// What a worker of a census runs; not for SQL.
void kms_census_worker(dsm_segment* segment, shm_toc* shared) {
    shm_mq* queue = queue_of(shared, ParallelWorkerNumber);
    shm_mq_set_sender(queue, MyProc);
    shm_mq_handle* answer = shm_mq_attach(queue, segment, nullptr);
    const auto* job = static_cast<const Job*>(shm_toc_lookup(shared, job_part, false));
    const Relation table = table_open(job->relation, AccessShareLock);
    CensusCounter counter(CurrentMemoryContext);
    count_share(shared, table, job->attribute, counter);
    table_close(table, AccessShareLock);
    send_answer(answer, counter);
    shm_mq_detach(answer);
}

}  // namespace kms::pg
