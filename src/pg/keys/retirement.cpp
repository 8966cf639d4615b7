#include "pg/keys/retirement.hpp"

#include "pg/blobs/tables.hpp"
#include "pg/columns/census.hpp"
#include "pg/columns/pending_registrations.hpp"
#include "pg/columns/registry.hpp"
#include "pg/keys/outlasting.hpp"
#include "pg/server/callers_portals.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/server/transaction.hpp"
#include "pg/session/settings.hpp"
#include "pg/stored/version_lock.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t most_lines = 20;
constexpr int most_waiting_ms = 1000;
constexpr int most_looks = 10;

// `past`: whose rows count, too; without a snapshot: those that are there.
std::uint64_t rows_of(const RegisteredColumn& column, std::span<const KeyTag> tags,
                      const Past& past) {
    CensusCounter counter(CurrentMemoryContext);
    counter.add(past.snapshot == nullptr
                    ? census_in_snapshot(column.relation, column.attribute)
                    : census_for_anybody(column.relation, column.attribute, past.snapshot));
    std::uint64_t rows = 0;
    for (const KeyTag& tag : tags) {
        rows += counter.rows_under(tag);
    }
    return rows;
}

std::uint64_t blobs_of(std::span<const KeyTag> tags) {
    std::uint64_t blobs = 0;
    for (const KeyTag& tag : tags) {
        blobs += count_blobs(tag);
    }
    return blobs;
}

// Not all rows count, or they cannot be re-encrypted, until it is mended. Nothing covers the
// column: rows of other partitions would not count.
const char* fault_of(const RegisteredColumn& column) {
    if (const char* obstacle = obstacle_to_counting(column)) {
        return psprintf("%s, so its rows cannot be counted", obstacle);
    }
    if (const char* root = root_above(column)) {
        return psprintf("a partition now, and the column of \"%s\" is not registered", root);
    }
    return column.broken != nullptr
               ? psprintf("its %scontext expression is broken: %s",
                          column.key_expression != nullptr ? "key or " : "", column.broken)
               : nullptr;
}

Oid file_of(Oid relation) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple)) {
        return InvalidOid;
    }
    const Oid file = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relfilenode;
    ReleaseSysCache(tuple);
    return file;
}

// Where rows are that are counted. What somebody still sees of one that is dropped, detached, not
// registered any more, or rewritten is nowhere else.
std::span<const CountedPlace> places_today() {
    Collected<CountedPlace> places;
    for (const RegisteredColumn& column : registered_columns()) {
        const List* parts =
            OidIsValid(column.relation) ? find_all_parts(column.relation, NoLock) : NIL;
        for (int i = 0; i < list_length(parts); ++i) {
            const Oid part = list_nth_oid(parts, i);
            places.add({part, column.attribute, file_of(part)});
        }
    }
    return places.all();
}

bool are_all_among(std::span<const CountedPlace> places, std::span<const CountedPlace> others) {
    return std::ranges::all_of(
        places, [&](const CountedPlace& place) { return std::ranges::count(others, place) != 0; });
}

bool are_all_there(std::span<const CountedPlace> places) {
    return are_all_among(places, places_today());
}

constexpr char how_to_move_rows[] =
    "Where it is the current version, rotate first. Bring rows to the current version with CALL "
    "kms.reencrypt(), and blobs with kms.rewrap_blobs(), while it is enabled. ";

bool has_rows(const ColumnRows& column) {
    return column.rows != 0;
}

bool was_counted(const ColumnRows& column) {
    return column.fault == nullptr;
}

void refuse_for(std::span<const ColumnRows> columns, const char* action, ByteView identifier,
                std::uint32_t version) {
    if (!columns.empty()) {
        const bool any_counted = std::ranges::any_of(columns, has_rows);
        ereport(ERROR,
                (errcode(sqlstate::still_needed),
                 any_counted ? errmsg("could not %s \"%s\": rows need its version %u", action,
                                      shown_identifier(identifier), version)
                             : errmsg("could not %s \"%s\": nobody can tell whether rows need its "
                                      "version %u",
                                      action, shown_identifier(identifier), version),
                 errdetail("%s", shown_rows(columns)),
                 errhint("%s%sforce => true makes what needs the version unreadable.",
                         any_counted ? how_to_move_rows : "", how_to_count(columns))));
    }
}

struct Countable {
    const RegisteredColumn* column;
    const char* fault;
    bool can_be_counted;
};

// Locks what is to be counted.
std::span<const Countable> look_at(std::span<const RegisteredColumn> registered) {
    Collected<Countable> columns;
    for (const RegisteredColumn& column : registered) {
        if (covering(column.relation, column.column_name, registered) == nullptr) {
            columns.add({&column, fault_of(column), obstacle_to_counting(column) == nullptr});
        }
    }
    return columns.all();
}

std::span<const ColumnRows> count_in_snapshot(std::span<const Countable> columns,
                                              std::span<const KeyTag> tags, const Past& past) {
    Collected<ColumnRows> counted;
    for (const Countable& each : columns) {
        const std::uint64_t rows = each.can_be_counted ? rows_of(*each.column, tags, past) : 0;
        if (each.fault != nullptr || rows != 0) {
            counted.add({full_name(*each.column), each.fault, rows});
        }
    }
    if (const std::uint64_t blobs = blobs_of(tags)) {
        counted.add({"kms.blob", nullptr, blobs});
    }
    return counted.all();
}

// Whatever is said of them now.
bool are_all_among(std::span<const RegisteredColumn> columns,
                   std::span<const RegisteredColumn> others) {
    return std::ranges::all_of(columns, [&](const RegisteredColumn& column) {
        return std::ranges::any_of(others, [&](const RegisteredColumn& other) {
            return column.relation == other.relation && column.attribute == other.attribute;
        });
    });
}

// A row may go from one registered column to another, or to one that is registered just now. So
// all of them are counted in one snapshot, which is newer than all locks, and older than a look at
// the registry that finds none besides.
std::span<const ColumnRows> count_all_rows(std::span<const KeyTag> tags, const Past& past) {
    LockRelationOid(blob_table(), AccessShareLock);
    std::span<const RegisteredColumn> registered = locked_registered_columns();
    for (int i = 0; i < most_looks; ++i) {
        const std::span<const Countable> countable = look_at(registered);
        const std::span<const ColumnRows> rows =
            in_one_snapshot([&] { return count_in_snapshot(countable, tags, past); });
        const std::span<const RegisteredColumn> again = locked_registered_columns();
        if (are_all_among(again, registered)) {
            return rows;
        }
        registered = again;
    }
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("columns were registered whenever all of them had been counted"),
                    errhint("Call it again.")));
    pg_unreachable();
}

// Who could write them back, and nobody waits for himself.
void refuse_if_cursor_sees(const char* action, ByteView identifier, std::uint32_t version,
                           const KeyTag& tag) {
    const Snapshot oldest = oldest_snapshot_of_cursors();
    if (oldest != nullptr && !count_all_rows({&tag, 1}, {oldest, {}}).empty()) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("could not %s \"%s\": a cursor of this session still sees rows that "
                               "need its version %u",
                               action, shown_identifier(identifier), version),
                        errdetail("They have been changed since it was opened."),
                        errhint("Close it, or let the loop over it end, and call it then.")));
    }
}

void hint_at_locked_table(void* /*argument*/) {
    if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE) {
        errhint(
            "Behind its locks a retirement waits a second at most. Somebody has a registered table "
            "locked, by VACUUM FULL or ALTER TABLE perhaps: call it again when that is over.");
    }
}

}  // namespace

bool may_be_needed() {
    return is_being_registered() || is_locked_by_another(blob_table(), ShareLock) || has_blobs() ||
           !registered_columns().empty();
}

const char* obstacle_to_counting(const RegisteredColumn& column) {
    if (column.relation == InvalidOid) {
        const Oid type = type_instead(column);
        return OidIsValid(type) ? psprintf("of type %s by now", format_type_be(type))
               : column.is_gone ? "dropped, and not yet forgotten"
                                : "not found";
    }
    if (const char* part = part_elsewhere(column.relation)) {
        return psprintf("its part %s", part);
    }
    const char* unlogged = unlogged_part_on_standby(column.relation);
    return unlogged != nullptr
               ? psprintf("its part \"%s\" is unlogged, and not on a standby", unlogged)
               : nullptr;
}

std::span<const ColumnRows> count_rows(std::span<const KeyTag> tags) {
    return count_all_rows(tags, {});
}

std::span<const ColumnRows> count_rows_behind_lock(std::span<const KeyTag> tags, const Past& past) {
    const int level = NewGUCNestLevel();
    if (LockTimeout == 0 || LockTimeout > most_waiting_ms) {
        set_meanwhile("lock_timeout", psprintf("%d", most_waiting_ms));
    }
    ErrorContextCallback hint = {error_context_stack, hint_at_locked_table, nullptr};
    error_context_stack = &hint;
    const std::span<const CountedPlace> before = places_today();
    const std::span<const ColumnRows> columns = count_all_rows(tags, past);
    error_context_stack = hint.previous;
    AtEOXact_GUC(false, level);
    // What is committed after the look at locks is in the catalogs that are read behind it.
    if (past.snapshot != nullptr && (are_rows_being_registered() || !are_all_there(past.places) ||
                                     !are_all_among(places_today(), before))) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("a registered table was changed while its rows were counted"),
                        errdetail("Or is being changed now: by another registration, or ATTACH "
                                  "PARTITION, INHERIT and the like."),
                        errhint("Call it again.")));
    }
    return columns;
}

std::uint64_t sum_of_rows(std::span<const ColumnRows> columns) {
    std::uint64_t sum = 0;
    for (const ColumnRows& column : columns) {
        sum += column.rows;
    }
    return sum;
}

const char* shown_rows(std::span<const ColumnRows> columns) {
    StringInfoData lines;
    initStringInfo(&lines);
    for (const ColumnRows& column : columns.first(std::min(columns.size(), most_lines))) {
        appendStringInfoString(&lines, lines.len == 0 ? "" : "\n");
        appendStringInfo(&lines, "%s: ", column.column);
        if (column.fault == nullptr || column.rows != 0) {
            appendStringInfo(&lines, UINT64_FORMAT "%s%s", column.rows,
                             column.rows == 1 ? " row" : " rows",
                             column.fault == nullptr ? "" : "; ");
        }
        appendStringInfoString(&lines, column.fault == nullptr ? "" : column.fault);
    }
    if (columns.size() > most_lines) {
        appendStringInfo(&lines, "\nand %zu more columns", columns.size() - most_lines);
    }
    return lines.data;
}

const char* how_to_count(std::span<const ColumnRows> columns) {
    return std::ranges::all_of(columns, was_counted)
               ? ""
               : "Mend what is registered and does not hold: register the column anew, or that of "
                 "the table that it is a partition of; kms.forget_column() takes back what is of "
                 "no column here. Rows of a column that is not registered are not counted, and "
                 "lost. ";
}

void refuse_if_sealed_here(const char* action, ByteView identifier, std::uint32_t version,
                           const KeyTag& tag) {
    if (has_sealed_under(tag)) {
        ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                        errmsg("could not %s \"%s\": this transaction has sealed values under "
                               "version %u",
                               action, shown_identifier(identifier), version),
                        errhint("Commit first, and call it then.")));
    }
}

void refuse_if_needed(const char* action, ByteView identifier, std::uint32_t version,
                      const KeyTag& tag) {
    refuse_for(count_rows({&tag, 1}), action, identifier, version);
    refuse_if_cursor_sees(action, identifier, version, tag);
}

void refuse_if_needed_behind_lock(const char* action, ByteView identifier, std::uint32_t version,
                                  const KeyTag& tag, const Past& past) {
    refuse_for(count_rows_behind_lock({&tag, 1}, past), action, identifier, version);
}

bool makes_search_terms(std::string_view algorithm) {
    const auto known = algorithm_named(algorithm);
    return known && !info_of(*known).seals();
}

void refuse_if_uncountable(const char* action, ByteView identifier, std::uint32_t version,
                           std::string_view algorithm) {
    if (makes_search_terms(algorithm)) {
        ereport(ERROR,
                (errcode(sqlstate::still_needed),
                 errmsg("could not %s \"%s\": rows may have search terms of its version %u", action,
                        shown_identifier(identifier), version),
                 errdetail("A search term does not tell which key has made it, so that they cannot "
                           "be counted."),
                 errhint("When kms.cache_ttl has passed since the rotation, and then all have been "
                         "made anew under another version, use force => true.")));
    }
}

Past outlast_transactions() {
    const std::span<const CountedPlace> places = places_today();
    const Snapshot before = RegisterSnapshot(GetLatestSnapshot());
    outlast_others(before);
    return {before, places};
}

Past outlast_rows(const char* action, ByteView identifier, std::uint32_t version,
                  const KeyTag& tag) {
    for (;;) {
        const Past past = outlast_transactions();
        bool is_left = false;
        without_keeping_locks([&] {
            refuse_if_needed(action, identifier, version, tag);
            is_left = !count_all_rows({&tag, 1}, past).empty() || are_rows_being_registered() ||
                      !are_all_there(past.places);
        });
        if (!is_left) {
            return past;
        }
        UnregisterSnapshot(past.snapshot);
    }
}

}  // namespace kms::pg
