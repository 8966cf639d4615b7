#include "pg/rewrap_data_keys.hpp"

#include <algorithm>

#include "client/rewrap.hpp"
#include "pg/collected.hpp"
#include "pg/data_key_writer.hpp"
#include "pg/key_arguments.hpp"

namespace kms::pg {
namespace {

// Rows that are read, sent and written at once.
constexpr std::size_t most_rows = 10000;

struct Batch {
    DataKeyRow* rows;
    NewForm* forms;
    std::size_t count;
    std::size_t failed;  // the row that a Failure is about

    std::span<const DataKeyRow> all() const { return {rows, count}; }
};

bool is_under(const DataKeyRow& row, ByteView kek, std::uint32_t current) {
    return row.key.state != wire::VersionState::destroyed && row.key.kek_version_last != current &&
           std::ranges::equal(row.key.kek, kek);
}

void add_context(void* argument) {
    const auto* batch = static_cast<const Batch*>(argument);
    if (batch->failed < batch->count) {
        const DataKeyRow& row = batch->rows[batch->failed];
        errcontext("data key \"%s\", version %u", shown_identifier(row.name), row.key.version);
    }
}

Algorithm algorithm_of(const DataKeyRow& row) {
    const auto algorithm = algorithm_named(row.key.algorithm);
    if (!algorithm) {
        raise_error({"wrap data key", 0, row.name}, Code::unsupported,
                    "Its algorithm is not known here.");
    }
    return *algorithm;
}

// Rows from where the last batch has ended, in the current memory context.
Batch read_batch(DataKeyScan& scan, ByteView kek, std::uint32_t current) {
    Batch batch = {allocate_many<DataKeyRow>(most_rows), nullptr, 0, 0};
    DataKeyRow row;
    while (batch.count < most_rows && scan.next(row)) {
        if (is_under(row, kek, current)) {
            (void)algorithm_of(row);
            batch.rows[batch.count++] = scan.kept();
        }
    }
    batch.forms = static_cast<NewForm*>(palloc0(batch.count * sizeof(NewForm)));
    batch.failed = batch.count;
    return batch;
}

WrappedDataKey wrapped_key(const DataKeyRow& row) {
    const DataKeyVersion& key = row.key;
    return {{row.name, key.version, *algorithm_named(key.algorithm)},
            key.tag,
            key.wrapped.bytes,
            key.wrapped_before.bytes};
}

Status wrap_batch(const KeyUse& kek, Batch& batch) {
    KMS_ASSIGN(Line line, session_if_any->line(kek));
    std::vector<WrappedDataKey> keys;
    for (const DataKeyRow& row : batch.all()) {
        keys.push_back(wrapped_key(row));
    }
    KMS_ASSIGN(const std::vector<Rewrapped> made, rewrap(line, kek.identifier, keys, batch.failed));
    for (std::size_t i = 0; i < made.size(); ++i) {
        const WrappedSecret& wrapped = made[i].wrapped;
        KMS_ASSIGN(varlena * bytes, try_allocate_value(wrapped.bytes.size()));
        copy_bytes(wrapped.bytes.view(), bytes_in(bytes));
        batch.forms[i] = {batch.rows[i].name, batch.rows[i].key.version, wrapped.version, bytes,
                          made[i].opened_before};
    }
    return {};
}

void rewrap_batch(const KeyUse& kek, Batch& batch) {
    Session& session = pg::session();
    const Failure failure =
        in_session(session, kek.subject(), [&] { return wrap_batch(kek, batch); });
    ErrorContextCallback callback = {error_context_stack, add_context, &batch};
    error_context_stack = &callback;
    finish(session, failure);
    error_context_stack = callback.previous;
    replace_wrapped_forms({batch.forms, batch.count});
}

}  // namespace

void rewrap_data_keys(const KeyUse& kek, std::uint32_t current) {
    DataKeyScan scan;
    MemoryContext per_batch =
        AllocSetContextCreate(CurrentMemoryContext, "kms data keys", ALLOCSET_DEFAULT_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(per_batch);
    bool more = true;
    while (more) {
        Batch batch = read_batch(scan, kek.identifier, current);
        if (batch.count != 0) {
            rewrap_batch(kek, batch);
        }
        more = batch.count == most_rows;
        MemoryContextReset(per_batch);
    }
    scan.end();
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(per_batch);
}

}  // namespace kms::pg
