#include "pg/values/read_ahead.hpp"

#include <new>

#include "pg/server/collected.hpp"
#include "pg/session/session.hpp"
#include "pg/session/settings.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t first_reach = 16;
constexpr std::size_t furthest_reach = 1024;
constexpr std::size_t growth = 4;
constexpr std::size_t most_bytes = 8 * 1024 * 1024;
constexpr std::int32_t no_call = -1;

// Rows that the partition's store cannot hold any more would be spilled to disk, and the rest of
// the input with them.
std::size_t allowance() {
    return std::min(most_bytes, static_cast<std::size_t>(work_mem) * 1024 / 4);
}

TimePoint end_of_life() {
    return cache_ttl().count() > 0 ? recently() + cache_ttl() : TimePoint::max();
}

// Anything else has an error of its own, which waits for its row.
bool can_be_called(const WindowRows& rows) {
    return rows.has_arguments() && key_list_unchecked().find(rows.local_id()) != nullptr;
}

Circumstances circumstances() {
    return {GetUserId(), key_circumstances(),
            session_if_any != nullptr ? session_if_any->changes : 0};
}

}  // namespace

std::size_t Reach::next() {
    if (rows == 0) {
        rows = first_reach;
    } else if (handed_out >= read) {
        rows = std::min(furthest_reach, growth * rows);
    } else {
        rows = std::clamp(2 * handed_out, first_reach, furthest_reach);
    }
    return rows;
}

varlena* ReadAhead::result(WindowRows& rows, const WindowAction& action, Reach& reach) {
    const std::int64_t row = WinGetCurrentPosition(rows.window());
    if (!holds(row)) {
        read(rows, action, reach.next());
        transform_rows(action);
        first_ = row;
        reach.read = row_count_;
        reach.handed_out = 0;
    }
    ++reach.handed_out;
    return take(row, action);
}

// When a key that was fetched meanwhile would have to be fetched again, results are made again.
bool ReadAhead::holds(std::int64_t row) const {
    return row_count_ > 0 && row < first_ + static_cast<std::int64_t>(row_count_) &&
           made_under_ == circumstances() && (until_ == TimePoint::max() || recently() < until_);
}

void ReadAhead::read(WindowRows& rows, const WindowAction& action, std::size_t most) {
    begin(most);
    MemoryContext caller = MemoryContextSwitchTo(memory_);
    rows.read_current();
    rows.require_arguments();
    add(rows, action.name);
    std::size_t left = allowance();
    while (row_count_ < most && read_next(rows)) {
        CHECK_FOR_INTERRUPTS();
        const std::size_t size = rows.size();
        if (size > left || !can_be_called(rows)) {
            break;
        }
        left -= size;
        add(rows, action.name);
    }
    MemoryContextSwitchTo(caller);
}

// An argument may be a small part of something large.
bool ReadAhead::read_next(WindowRows& rows) {
    MemoryContextReset(row_memory_);
    MemoryContext caller = MemoryContextSwitchTo(row_memory_);
    const bool is_there = rows.read_ahead(static_cast<int>(row_count_));
    MemoryContextSwitchTo(caller);
    return is_there;
}

void ReadAhead::begin(std::size_t most) {
    if (memory_ == nullptr) {
        MemoryContext partition = GetMemoryChunkContext(this);
        memory_ = AllocSetContextCreate(partition, "kms read-ahead", ALLOCSET_DEFAULT_SIZES);
        row_memory_ = AllocSetContextCreate(partition, "kms row ahead", ALLOCSET_DEFAULT_SIZES);
    }
    row_count_ = call_count_ = 0;
    failure_ = nullptr;
    MemoryContextReset(memory_);
    MemoryContext caller = MemoryContextSwitchTo(memory_);
    call_of_row_ = allocate_many<std::int32_t>(most);
    calls_ = allocate_many<Call>(most);
    results_ = allocate_many<varlena*>(most);
    MemoryContextSwitchTo(caller);
}

void ReadAhead::add(const WindowRows& rows, const char* action) {
    call_of_row_[row_count_++] =
        rows.data_is_null() ? no_call : static_cast<std::int32_t>(call_count_);
    if (!rows.data_is_null()) {
        calls_[call_count_++] = {action, rows.local_id(), rows.copied_data(),
                                 rows.copied_context()};
    }
}

void ReadAhead::transform_rows(const WindowAction& action) {
    made_under_ = circumstances();
    until_ = end_of_life();
    MemoryContext caller = MemoryContextSwitchTo(memory_);
    const Failure failure = transform(action.way, {calls_, call_count_}, results_, done_);
    if (failure.pending) {
        raise(failure);
    }
    if (failure) {
        failure_ = new (palloc(sizeof(Failure))) Failure(failure);
    }
    MemoryContextSwitchTo(caller);
}

varlena* ReadAhead::take(std::int64_t row, const WindowAction& action) const {
    const std::int32_t call = call_of_row_[row - first_];
    if (call == no_call) {
        return nullptr;
    }
    if (static_cast<std::size_t>(call) == done_) {
        raise(*failure_);
    }
    if (action.to_text) {
        require_text(calls_[call], results_[call]);
    }
    return results_[call];
}

}  // namespace kms::pg
