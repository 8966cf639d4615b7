#include "pg/keys/rewrap_data_keys.hpp"

#include "client/calls/rewrap.hpp"
#include "pg/keys/data_key_batches.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/stored/data_key_writer.hpp"

namespace kms::pg {
namespace {

WrappedDataKey wrapped_key(const DataKeyRow& row) {
    const DataKeyVersion& key = row.key;
    return {{row.name, key.version, *algorithm_named(key.algorithm)},
            key.tag,
            key.wrapped.bytes,
            key.wrapped_before.bytes};
}

std::vector<WrappedDataKey> wrapped_keys(const DataKeyBatch& batch) {
    std::vector<WrappedDataKey> keys;
    for (const DataKeyRow& row : batch.all()) {
        keys.push_back(wrapped_key(row));
    }
    return keys;
}

Status try_to_open(const KeyUse& kek, DataKeyBatch& batch) {
    KMS_ASSIGN(Line line, session_if_any->line(kek));
    return check_rewrappable(line, kek.identifier, wrapped_keys(batch), batch.failed);
}

Status wrap_batch(const KeyUse& kek, std::uint32_t current, DataKeyBatch& batch, NewForm* forms) {
    KMS_ASSIGN(Line line, session_if_any->line(kek));
    KMS_ASSIGN(const std::vector<Rewrapped> made,
               rewrap(line, kek.identifier, current, wrapped_keys(batch), batch.failed));
    for (std::size_t i = 0; i < made.size(); ++i) {
        const WrappedSecret& wrapped = made[i].wrapped;
        KMS_ASSIGN(varlena * bytes, try_allocate_value(wrapped.bytes.size()));
        copy_bytes(wrapped.bytes.view(), bytes_in(bytes));
        forms[i] = {batch.rows[i].name, batch.rows[i].key.version, wrapped.version, bytes,
                    made[i].opened_before};
    }
    return {};
}

// `act`: an exchange with the agent.
template <typename Act>
void exchange_batch(const KeyUse& kek, DataKeyBatch& batch, Act&& act) {
    for (const DataKeyRow& row : batch.all()) {
        (void)required_algorithm({"wrap data key", 0, row.name}, row.key.algorithm);
    }
    Session& session = pg::session();
    const Failure failure = in_session(session, kek.subject(), act);
    finish_batch(session, failure, batch);
}

void rewrap_batch(const KeyUse& kek, std::uint32_t current, DataKeyBatch& batch) {
    auto* forms = allocate_many<NewForm>(batch.count);
    exchange_batch(kek, batch, [&] { return wrap_batch(kek, current, batch, forms); });
    replace_wrapped_forms({forms, batch.count});
}

}  // namespace

std::size_t rewrap_data_keys(const KeyUse& kek, std::uint32_t current) {
    std::size_t count = 0;
    for_each_batch(kek.identifier, [&](DataKeyBatch& batch) {
        rewrap_batch(kek, current, batch);
        count += batch.count;
    });
    return count;
}

void require_rewrappable(const KeyUse& kek) {
    for_each_batch(kek.identifier, [&](DataKeyBatch& batch) {
        exchange_batch(kek, batch, [&] { return try_to_open(kek, batch); });
    });
}

}  // namespace kms::pg
