#include "pg/stored/data_keys.hpp"

#include <algorithm>

#include "pg/server/arguments.hpp"
#include "pg/server/collected.hpp"
#include "pg/tables/own_table.hpp"

namespace kms::pg {
namespace {

enum Column : int {
    name_column = 1,
    version_column,
    algorithm_column,
    key_tag_column,
    state_column,
    created_column,
    kek_column,
    kek_version_column,
    wrapped_column,
    kek_version_before_column,
    wrapped_before_column,
    kek_version_first_column
};

Oid known_table = InvalidOid;
std::uint64_t changes = 0;

// An InvalidOid stands for every relation.
void note_change(Datum /*argument*/, Oid relation) {
    if (relation == InvalidOid || relation == known_table) {
        ++changes;
    }
}

WrappedForm form_of(const OwnRow& row, Column kek_version, Column wrapped) {
    if (!row.has(kek_version) || !row.has(wrapped)) {
        return {0, {}};
    }
    return {DatumGetUInt32(row[kek_version]), bytes_of_datum(row[wrapped])};
}

// The table's constraints see to it that it is one of the words.
wire::VersionState state_of(Datum word) {
    return wire::parse_state(text_of(bytes_of_datum(word))).value_or(wire::VersionState::destroyed);
}

DataKeyVersion version_of(const OwnRow& row) {
    return {.version = DatumGetUInt32(row[version_column]),
            .algorithm = text_of(bytes_of_datum(row[algorithm_column])),
            .tag = tag_of(bytes_of_datum(row[key_tag_column])),
            .state = state_of(row[state_column]),
            .created = DatumGetTimestampTz(row[created_column]),
            .kek = bytes_of_datum(row[kek_column]),
            .wrapped = form_of(row, kek_version_column, wrapped_column),
            .wrapped_before = form_of(row, kek_version_before_column, wrapped_before_column),
            .kek_version_first = DatumGetUInt32(row[kek_version_first_column]),
            .kek_version_last = DatumGetUInt32(row[kek_version_column]),
            .written_by = row.version().writer};
}

// In the current memory context.
DataKeyRow row_of(Relation table, HeapTuple tuple) {
    const OwnRow row(table, tuple);
    return {bytes_of_datum(row[name_column]), version_of(row)};
}

// InvalidOid where there is none on this column alone.
Oid index_on(Relation table, Column column) {
    ListCell* cell = nullptr;
    foreach (cell, RelationGetIndexList(table)) {
        const Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        const FormData_pg_index& columns = *index->rd_index;
        const bool fits = columns.indnatts == 1 && columns.indkey.values[0] == column;
        index_close(index, AccessShareLock);
        if (fits) {
            return lfirst_oid(cell);
        }
    }
    return InvalidOid;
}

}  // namespace

const DataKeyVersion* DataKey::with_tag(const KeyTag& tag) const {
    const auto found = std::ranges::find(versions, tag, &DataKeyVersion::tag);
    return found != versions.end() ? &*found : nullptr;
}

// A change that is heard of before the table is read will be seen in it.
DataKey read_data_key(ByteView name) {
    const Relation table = table_open(data_key_table(), AccessShareLock);
    const std::uint64_t as_of = data_key_changes();
    const Relation index = index_open(primary_key_of(table), AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, name_column, BTEqualStrategyNumber, F_BYTEAEQ, bytes_datum(name));
    SysScanDesc scan = systable_beginscan_ordered(table, index, nullptr, 1, &key);
    Collected<DataKeyVersion> versions;
    while (HeapTuple tuple = systable_getnext_ordered(scan, ForwardScanDirection)) {
        versions.add(row_of(table, tuple).key);
    }
    systable_endscan_ordered(scan);
    index_close(index, AccessShareLock);
    table_close(table, AccessShareLock);
    return {versions.all(), as_of};
}

bool has_data_keys() {
    static std::uint64_t empty_as_of = UINT64_MAX;
    const Oid own = data_key_table();
    if (empty_as_of == changes) {
        return false;
    }
    const Relation table = table_open(own, AccessShareLock);
    const std::uint64_t as_of = changes;
    SysScanDesc scan = systable_beginscan(table, primary_key_of(table), true, nullptr, 0, nullptr);
    const bool has_one = HeapTupleIsValid(systable_getnext(scan));
    systable_endscan(scan);
    table_close(table, AccessShareLock);
    empty_as_of = has_one ? UINT64_MAX : as_of;
    return has_one;
}

const DataKeyRow* find_data_key(const KeyTag& tag) {
    const Relation table = table_open(data_key_table(), AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, key_tag_column, BTEqualStrategyNumber, F_BYTEAEQ, bytes_datum(tag));
    SysScanDesc scan =
        systable_beginscan(table, index_on(table, key_tag_column), true, nullptr, 1, &key);
    DataKeyRow* found = nullptr;
    if (const HeapTuple tuple = systable_getnext(scan)) {
        found = static_cast<DataKeyRow*>(palloc(sizeof(DataKeyRow)));
        *found = row_of(table, tuple);
    }
    systable_endscan(scan);
    table_close(table, AccessShareLock);
    return found;
}

DataKeyScan::DataKeyScan()
    : table_(table_open(data_key_table(), AccessShareLock)),
      scan_(systable_beginscan(table_, InvalidOid, false, nullptr, 0, nullptr)),
      row_memory_(
          AllocSetContextCreate(CurrentMemoryContext, "kms data key", ALLOCSET_SMALL_SIZES)) {}

bool DataKeyScan::next(DataKeyRow& row) {
    MemoryContextReset(row_memory_);
    tuple_ = systable_getnext(scan_);
    if (tuple_ == nullptr) {
        return false;
    }
    MemoryContext caller = MemoryContextSwitchTo(row_memory_);
    row = kept();
    MemoryContextSwitchTo(caller);
    return true;
}

DataKeyRow DataKeyScan::kept() const {
    return row_of(table_, tuple_);
}

void DataKeyScan::end() {
    systable_endscan(scan_);
    table_close(table_, AccessShareLock);
    MemoryContextDelete(row_memory_);
}

Oid data_key_table() {
    static bool listening = false;
    if (!listening) {
        CacheRegisterRelcacheCallback(note_change, 0);
        listening = true;
    }
    const Oid table = own_table("data_key");
    if (table != known_table) {
        known_table = table;
        ++changes;
    }
    return table;
}

std::uint64_t data_key_changes() {
    return changes;
}

// A trigger of the table: sessions that hold its keys look again.
KMS_FUNCTION(kms_data_key_changed) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("kms_internal.data_key_changed is a trigger's function")));
    }
    const auto* trigger = reinterpret_cast<const TriggerData*>(fcinfo->context);
    CacheInvalidateRelcache(trigger->tg_relation);
    return Datum{0};
}

}  // namespace kms::pg
