// Rows of a window's partition that are read ahead, so that many of them are one exchange with the
// agent, and whose results are handed out one by one.
#pragma once

#include "pg/values/values.hpp"
#include "pg/values/window_rows.hpp"

namespace kms::pg {

// Which function it is.
struct WindowAction {
    const char* name;  // for messages
    Way way;
    bool to_text;
};

// How far it pays to read ahead: further when all that was read was asked for, as a LIMIT or a
// cursor may not do. Kept for a call of the query, over its partitions.
struct Reach {
    std::size_t rows;
    std::size_t read;
    std::size_t handed_out;

    std::size_t next();
};

// Results that were made under others are made again.
struct Circumstances {
    Oid role;
    std::uint64_t settings;
    std::uint64_t changes;  // of keys

    bool operator==(const Circumstances&) const = default;
};

// Lives in the memory of a partition, all zero at its start.
class ReadAhead {
  public:
    // The result for the current row, nullptr for NULL. A value that failed raises its error when
    // its row is reached, and not before.
    varlena* result(WindowRows& rows, const WindowAction& action, Reach& reach);

  private:
    bool holds(std::int64_t row) const;
    void read(WindowRows& rows, const WindowAction& action, std::size_t most);
    void begin(std::size_t most);
    bool read_next(WindowRows& rows);
    void add(const WindowRows& rows, const char* action);
    void transform_rows(const WindowAction& action);
    varlena* take(std::int64_t row, const WindowAction& action) const;

    MemoryContext memory_;      // of what follows; emptied before the next rows are read
    MemoryContext row_memory_;  // of the arguments of one row
    std::int64_t first_;        // the row of the partition that row 0 here is
    std::size_t row_count_;
    std::int32_t* call_of_row_;  // no_call where data is NULL
    std::size_t call_count_;
    Call* calls_;
    varlena** results_;
    std::size_t done_;        // calls that have their results
    const Failure* failure_;  // of call done_
    Circumstances made_under_;
    TimePoint until_;  // the results may be handed out
};

}  // namespace kms::pg
