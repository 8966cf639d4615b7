// Rows of a batch between the steps: read, sealed anew, written back.
#pragma once

#include "pg/contexts/row_values.hpp"
#include "pg/rewriting/attempt.hpp"
#include "pg/rewriting/row_writer.hpp"
#include "pg/values/plain_input.hpp"

namespace kms::pg {

// Of values that are in memory at once.
constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
constexpr std::size_t chunk_rows = 8192;
// Rows that are read, and what is to be written.
struct Chunk {
    MemoryContext memory;      // of what the arrays point to
    MemoryContext row_memory;  // of what is made of one row
    std::size_t count;
    std::size_t bytes;
    Call* calls;
    Call* calls_before;  // while the column is being moved: as the values were sealed before
    varlena** results;   // nullptr: the row stays as it is
    RowVersion* rows;
    ItemPointerData* written;  // where they are then
    std::size_t written_count;

    bool is_full() const { return count == chunk_rows || bytes >= chunk_bytes; }
};

// What the steps hand to each other.
struct Work {
    Batch& batch;
    Attempt& attempt;
    RowValues values;
    RowValues values_before;
    PlainInput input;  // of the target, where the run opens values
    bool may_wait;     // to write a row
    Chunk chunk;
};

void note_bad_row(Work& work, const ItemPointerData& place, int sqlstate, const char* reason);

// Its rows' values as they are to be, but for those that need nothing and those that are bad.
void seal_chunk(Work& work);

// Which of its rows are not as they are to be, without a change.
void look_at_chunk(Work& work);

}  // namespace kms::pg
