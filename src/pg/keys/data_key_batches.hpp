// The data keys that a KEK wraps, so many at once as one exchange with the agent is about.
#pragma once

#include "pg/session/session.hpp"

namespace kms::pg {

// Rows that are not destroyed. In the memory of the batches, there until the next one.
struct DataKeyBatch {
    DataKeyRow* rows;
    std::size_t count;
    std::size_t failed;  // the row that a Failure is about; count: none

    std::span<const DataKeyRow> all() const { return {rows, count}; }
};

// Reads them as they are when it begins.
class DataKeyBatches {
  public:
    explicit DataKeyBatches(ByteView kek);
    bool next(DataKeyBatch& batch);  // false: there are no more
    void end();

    // Emptied before each batch.
    MemoryContext memory() const { return memory_; }

  private:
    DataKeyScan scan_;
    ByteView kek_;
    MemoryContext memory_;
    bool has_more_ = true;
};

// For each batch, in its memory.
template <typename Visit>
void for_each_batch(ByteView kek, Visit&& visit) {
    DataKeyBatches batches(kek);
    MemoryContext caller = MemoryContextSwitchTo(batches.memory());
    DataKeyBatch batch;
    while (batches.next(batch)) {
        visit(batch);
    }
    MemoryContextSwitchTo(caller);
    batches.end();
}

// How many it wraps, which are not destroyed.
std::size_t count_data_keys(ByteView kek);

// PostgreSQL side, after an exchange about a batch: as finish(), and CONTEXT names the data key.
void finish_batch(Session& session, const Failure& failure, DataKeyBatch& batch);

}  // namespace kms::pg
