// The table kms.data_key: data keys that are wrapped by a KEK at the agent. PostgreSQL side.
//
// Read with the newest snapshot and without regard to the caller's privileges: who may use a key is
// a matter of EXECUTE on the functions and of the agent's policy on its KEK.
#pragma once

#include <span>

#include "base/bytes.hpp"
#include "crypto/algorithm.hpp"
#include "pg/server/pg.hpp"
#include "wire/verbs.hpp"

namespace kms::pg {

// One wrapped form of a data key.
struct WrappedForm {
    std::uint32_t kek_version;  // 0: there is none
    ByteView bytes;
};

// A row. Views and texts are of the memory context that it was read in.
struct DataKeyVersion {
    std::uint32_t version;
    std::string_view algorithm;  // a name that this build may not know
    KeyTag tag;
    wire::VersionState state;
    TimestampTz created;
    ByteView kek;
    WrappedForm wrapped;         // none once destroyed
    WrappedForm wrapped_before;  // tried where the first does not open
    // Of the oldest form that there ever was, and of the newest, destroyed or not.
    std::uint32_t kek_version_first;
    std::uint32_t kek_version_last;
    TransactionId written_by;
};

struct DataKey {
    std::span<const DataKeyVersion> versions;  // the oldest first; empty: there is no such key
    std::uint64_t as_of = 0;                   // what data_key_changes() was when it was read

    // nullptr: there is none.
    const DataKeyVersion* newest() const { return versions.empty() ? nullptr : &versions.back(); }
    const DataKeyVersion* with_tag(const KeyTag& tag) const;
};

DataKey read_data_key(ByteView name);

// Whether there is any. That there is none is remembered until the table changes.
bool has_data_keys();

struct DataKeyRow {
    ByteView name;
    DataKeyVersion key;
};

// nullptr: no data key has this version.
const DataKeyRow* find_data_key(const KeyTag& tag);

// All rows of the table, in no order, as they are when it begins.
class DataKeyScan {
  public:
    DataKeyScan();
    bool next(DataKeyRow& row);  // there until the next one is; false: there are no more
    DataKeyRow kept() const;     // the same row, in the current memory context
    MemoryContext row_memory() const { return row_memory_; }
    void end();

  private:
    Relation table_;
    SysScanDesc scan_;
    MemoryContext row_memory_;  // emptied before each row
    HeapTuple tuple_ = nullptr;
};

// Visits each of them. What is allocated meanwhile goes with the row.
template <typename Visit>
void for_each_data_key(Visit&& visit) {
    DataKeyScan scan;
    MemoryContext caller = MemoryContextSwitchTo(scan.row_memory());
    DataKeyRow row;
    while (scan.next(row)) {
        visit(row);
    }
    MemoryContextSwitchTo(caller);
    scan.end();
}

Oid data_key_table();

// Rises with every change of the table that this session hears of, its own at their rollback too:
// what was read under another number must be read again.
std::uint64_t data_key_changes();

}  // namespace kms::pg
