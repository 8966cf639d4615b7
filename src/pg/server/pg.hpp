// PostgreSQL, and everything in which its versions 14 to 19 differ.
#pragma once

#include "pg/server/postgres.hpp"

// An SQL function. PG_FUNCTION_INFO_V1 alone exports it from 16 on only.
#define KMS_FUNCTION(name)                               \
    extern "C" PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
    extern "C" {                                         \
    PG_FUNCTION_INFO_V1(name);                           \
    }                                                    \
    Datum name([[maybe_unused]] PG_FUNCTION_ARGS)

namespace kms::pg {

// The memory of a setting's extra: plain malloc before 16.
inline void* allocate_extra(std::size_t size) {
#if PG_VERSION_NUM >= 160000
    return guc_malloc(LOG, size);
#else
    return malloc(size);
#endif
}

inline void free_extra(void* extra) {
#if PG_VERSION_NUM >= 160000
    guc_free(extra);
#else
    free(extra);
#endif
}

// Settings of this prefix that are not defined are refused from 15 on, warned about on 14.
inline void reserve_setting_prefix(const char* prefix) {
#if PG_VERSION_NUM >= 150000
    MarkGUCPrefixReserved(prefix);
#else
    EmitWarningsOnPlaceholders(prefix);
#endif
}

// A flag of settings that may change while a query runs in parallel. Minor versions from before
// November 2024 know of none such.
#ifdef GUC_ALLOW_IN_PARALLEL
constexpr int settable_in_parallel = GUC_ALLOW_IN_PARALLEL;
#else
constexpr int settable_in_parallel = 0;
#endif

// Whether a commit waits for standbys by now: minor versions from May 2025 on know "not yet" too.
inline bool has_synchronous_standbys() {
#ifdef SYNC_STANDBY_DEFINED
    return (WalSndCtl->sync_standbys_status & SYNC_STANDBY_DEFINED) != 0;
#else
    return WalSndCtl->sync_standbys_defined;
#endif
}

// A wait event set that lives until it is freed, whatever transaction makes it.
inline WaitEventSet* create_wait_event_set(int events) {
#if PG_VERSION_NUM >= 170000
    return CreateWaitEventSet(nullptr, events);
#else
    return CreateWaitEventSet(TopMemoryContext, events);
#endif
}

// The name under which pg_stat_activity shows a session that awaits its agent: from 17 on our own.
inline uint32 agent_wait_event() {
#if PG_VERSION_NUM >= 170000
    static uint32 event = 0;
    if (event == 0) {
        event = WaitEventExtensionNew("KmsAgent");
    }
    return event;
#else
    return PG_WAIT_EXTENSION;
#endif
}

// Where the client of a process of this server has come from, as it has said in shared memory,
// which is read once a transaction; nullptr: there is no such process.
inline const SockAddr* client_of_process(int pid) {
    const int count = pgstat_fetch_stat_numbackends();
    for (int i = 1; i <= count; ++i) {
#if PG_VERSION_NUM >= 160000
        const PgBackendStatus& process = pgstat_get_local_beentry_by_index(i)->backendStatus;
#else
        const PgBackendStatus& process = pgstat_fetch_stat_local_beentry(i)->backendStatus;
#endif
        if (process.st_procpid == pid) {
            return &process.st_clientaddr;
        }
    }
    return nullptr;
}

// A shared lock until it is let go of or the session ends; false where the lock table is full.
// Never waits.
inline bool try_lock_for_session(const LOCKTAG& tag) {
#if PG_VERSION_NUM >= 180000
    return LockAcquireExtended(&tag, AccessShareLock, true, true, false, nullptr, false) !=
           LOCKACQUIRE_NOT_AVAIL;
#else
    return LockAcquireExtended(&tag, AccessShareLock, true, true, false, nullptr) !=
           LOCKACQUIRE_NOT_AVAIL;
#endif
}

inline bool is_locked_by_me(const LOCKTAG& tag) {
#if PG_VERSION_NUM >= 170000
    return LockHeldByMe(&tag, AccessShareLock, false);
#else
    return LockHeldByMe(&tag, AccessShareLock);
#endif
}

// As far as the planner can tell; from 17 on by statistics too.
inline double likely_length([[maybe_unused]] PlannerInfo* root, Node* array) {
#if PG_VERSION_NUM >= 170000
    return estimate_array_length(root, array);
#else
    return estimate_array_length(array);
#endif
}

// Refuses RESPECT NULLS and IGNORE NULLS, which are from 19 on: rows with NULLs would be passed
// over when it is read ahead.
inline void refuse_null_treatment([[maybe_unused]] FunctionCallInfo fcinfo) {
#if PG_VERSION_NUM >= 190000
    WinCheckAndInitializeNullTreatment(PG_WINDOW_OBJECT(), false, fcinfo);
#endif
}

// How a window object, which is private to nodeWindowAgg.c, has begun in all versions.
struct WindowObjectBeginning {
    NodeTag type;
    WindowAggState* state;
    List* arguments;  // of ExprState
};

inline const WindowObjectBeginning& beginning_of(WindowObject window) {
    const auto& beginning = *reinterpret_cast<const WindowObjectBeginning*>(window);
    Assert(IsA(beginning.state, WindowAggState));
    return beginning;
}

// An argument for the row that WinGetFuncArgInPartition has read last, without reading it again.
inline Datum argument_of_same_row(WindowObject window, int argument, bool* is_null) {
    const WindowObjectBeginning& beginning = beginning_of(window);
    auto* expression = static_cast<ExprState*>(list_nth(beginning.arguments, argument));
    return ExecEvalExpr(expression, beginning.state->ss.ps.ps_ExprContext, is_null);
}

// The bytes of that row in the partition's store.
inline std::size_t row_width(WindowObject window) {
    bool copied = false;
    const MinimalTuple row =
        ExecFetchSlotMinimalTuple(beginning_of(window).state->temp_slot_1, &copied);
    return row->t_len;
}

// From 19 on a scan takes options, of which the first is none.
inline TableScanDesc begin_scan(Relation table, Snapshot snapshot) {
#if PG_VERSION_NUM >= 190000
    return table_beginscan(table, snapshot, 0, nullptr, SO_NONE);
#else
    return table_beginscan(table, snapshot, 0, nullptr);
#endif
}

inline TableScanDesc begin_range_scan(Relation table, Snapshot snapshot, ItemPointer first,
                                      ItemPointer last) {
#if PG_VERSION_NUM >= 190000
    return table_beginscan_tidrange(table, snapshot, first, last, SO_NONE);
#else
    return table_beginscan_tidrange(table, snapshot, first, last);
#endif
}

// Which of the caches of catalogs.
#if PG_VERSION_NUM >= 190000
using CacheNumber = SysCacheIdentifier;
#else
using CacheNumber = int;
#endif

inline TableScanDesc begin_shared_scan(Relation table, ParallelTableScanDesc scan) {
#if PG_VERSION_NUM >= 190000
    return table_beginscan_parallel(table, scan, SO_NONE);
#else
    return table_beginscan_parallel(table, scan);
#endif
}

// Waits until all of it is in the queue.
inline shm_mq_result send_to_leader(shm_mq_handle* queue, Size length, const void* data) {
#if PG_VERSION_NUM >= 150000
    return shm_mq_send(queue, length, data, false, true);
#else
    return shm_mq_send(queue, length, data, false);
#endif
}

// A record of nothing in the write-ahead log, behind all that is there; its place.
inline XLogRecPtr log_marker(const char* prefix) {
#if PG_VERSION_NUM >= 170000
    return LogLogicalMessage(prefix, "", 0, false, false);
#else
    return LogLogicalMessage(prefix, "", 0, false);
#endif
}

// makeNode() is not C++.
template <typename Node>
Node* make_node(NodeTag tag) {
    auto* node = static_cast<Node*>(palloc0(sizeof(Node)));
    reinterpret_cast<::Node*>(node)->type = tag;
    return node;
}

// The range table of a statement that updates columns of one table, as triggers and constraints
// look it up.
inline void init_updated_table(EState* statement, Relation table, Bitmapset* columns) {
    auto* entry = make_node<RangeTblEntry>(T_RangeTblEntry);
    entry->rtekind = RTE_RELATION;
    entry->relid = RelationGetRelid(table);
    entry->relkind = table->rd_rel->relkind;
    entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
    List* permissions = NIL;
    addRTEPermissionInfo(&permissions, entry)->updatedCols = columns;
#if PG_VERSION_NUM >= 180000
    ExecInitRangeTable(statement, lappend(NIL, entry), permissions, bms_make_singleton(1));
#else
    ExecInitRangeTable(statement, lappend(NIL, entry), permissions);
#endif
#else
    entry->updatedCols = columns;
    ExecInitRangeTable(statement, lappend(NIL, entry));
#endif
}

inline void init_recheck(EPQState* recheck, EState* statement) {
#if PG_VERSION_NUM >= 160000
    EvalPlanQualInit(recheck, statement, nullptr, NIL, -1, NIL);
#else
    EvalPlanQualInit(recheck, statement, nullptr, NIL, -1);
#endif
}

// InvalidOid where it has none.
inline Oid primary_key_of(Relation table) {
#if PG_VERSION_NUM >= 180000
    return RelationGetPrimaryKeyIndex(table, false);
#else
    return RelationGetPrimaryKeyIndex(table);
#endif
}

// A type's name with its modifier, varchar(10) say; raises where there is none.
inline void parse_type(const char* name, Oid* type, int32* modifier) {
#if PG_VERSION_NUM >= 160000
    (void)parseTypeString(name, type, modifier, nullptr);
#else
    parseTypeString(name, type, modifier, false);
#endif
}

// All nodes below one that the raw parser has made.
inline bool walk_raw(Node* node, bool (*visit)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
    return raw_expression_tree_walker(node, visit, context);
#else
    auto* any = reinterpret_cast<void (*)()>(visit);
    return raw_expression_tree_walker(node, reinterpret_cast<bool (*)()>(any), context);
#endif
}

// All nodes below one of an expression that has been analysed.
inline bool walk_expression(Node* node, bool (*visit)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
    return expression_tree_walker(node, visit, context);
#else
    auto* any = reinterpret_cast<void (*)()>(visit);
    return expression_tree_walker(node, reinterpret_cast<bool (*)()>(any), context);
#endif
}

// The same of all that a query is made of.
inline bool walk_query(Query* query, bool (*visit)(Node*, void*), void* context) {
#if PG_VERSION_NUM >= 160000
    return query_tree_walker(query, visit, context, 0);
#else
    auto* any = reinterpret_cast<void (*)()>(visit);
    return query_tree_walker(query, reinterpret_cast<bool (*)()>(any), context, 0);
#endif
}

// JSON_OBJECT() and the like, which are no functions.
inline bool is_sql_json([[maybe_unused]] Node* node) {
#if PG_VERSION_NUM >= 170000
    return IsA(node, JsonConstructorExpr) || IsA(node, JsonExpr);
#elif PG_VERSION_NUM >= 160000
    return IsA(node, JsonConstructorExpr);
#else
    return false;
#endif
}

// The record behind a setting's name, nullptr for none.
inline config_generic* find_setting(const char* name) {
#if PG_VERSION_NUM >= 160000
    return find_option(name, false, true, 0);
#else
    config_generic** settings = get_guc_variables();
    for (int i = 0; i < GetNumConfigOptions(); ++i) {
        if (pg_strcasecmp(settings[i]->name, name) == 0) {
            return settings[i];
        }
    }
    return nullptr;
#endif
}

// Whether the value of `setting` is, or hides, one that a SET LOCAL or a function's SET put there:
// it will be taken back, and must not be copied into a value that stays.
inline bool has_local_value(const config_generic* setting) {
    for (const GucStack* entry = setting->stack; entry != nullptr; entry = entry->prev) {
        if (entry->state != GUC_SET) {
            return true;
        }
    }
    return false;
}

// As pg_locks shows it.
inline const char* shown_transaction(const VirtualTransactionId& id) {
#if PG_VERSION_NUM >= 170000
    return psprintf("%d/%u", id.procNumber, id.localTransactionId);
#else
    return psprintf("%d/%u", id.backendId, id.localTransactionId);
#endif
}

}  // namespace kms::pg
