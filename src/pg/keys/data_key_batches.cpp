#include "pg/keys/data_key_batches.hpp"

#include <algorithm>

#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t most_rows = 10000;

bool is_under(const DataKeyRow& row, ByteView kek) {
    return row.key.state != wire::VersionState::destroyed && std::ranges::equal(row.key.kek, kek);
}

void add_context(void* argument) {
    const auto* batch = static_cast<const DataKeyBatch*>(argument);
    if (batch->failed < batch->count) {
        const DataKeyRow& row = batch->rows[batch->failed];
        errcontext("data key \"%s\", version %u", shown_identifier(row.name), row.key.version);
        if (geterrcode() == sqlstate::wrong_key) {
            errhint(
                "The agent's keys are as a rule older ones than those that have wrapped it: give "
                "it "
                "the newest copy of them, and keep those that it replaces, which open what was "
                "made meanwhile. Where the row is of another database, whose keys the agent never "
                "had, kms.destroy_data_key() gives it up.");
        }
    }
}

}  // namespace

DataKeyBatches::DataKeyBatches(ByteView kek)
    : kek_(kek),
      memory_(
          AllocSetContextCreate(CurrentMemoryContext, "kms data keys", ALLOCSET_DEFAULT_SIZES)) {}

bool DataKeyBatches::next(DataKeyBatch& batch) {
    MemoryContextReset(memory_);
    MemoryContext caller = MemoryContextSwitchTo(memory_);
    batch = {allocate_many<DataKeyRow>(most_rows), 0, 0};
    DataKeyRow row;
    while (has_more_ && batch.count < most_rows && scan_.next(row)) {
        if (is_under(row, kek_)) {
            batch.rows[batch.count++] = scan_.kept();
        }
    }
    has_more_ = batch.count == most_rows;  // a scan that has ended would begin again
    batch.failed = batch.count;
    MemoryContextSwitchTo(caller);
    return batch.count != 0;
}

void DataKeyBatches::end() {
    scan_.end();
    MemoryContextDelete(memory_);
}

std::size_t count_data_keys(ByteView kek) {
    std::size_t count = 0;
    for_each_batch(kek, [&](const DataKeyBatch& batch) { count += batch.count; });
    return count;
}

void finish_batch(Session& session, const Failure& failure, DataKeyBatch& batch) {
    ErrorContextCallback callback = {error_context_stack, add_context, &batch};
    error_context_stack = &callback;
    finish(session, failure);
    error_context_stack = callback.previous;
}

}  // namespace kms::pg
