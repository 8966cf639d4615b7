#include "pg/rewrap_data_keys.hpp"

#include "client/rewrap.hpp"
#include "pg/collected.hpp"
#include "pg/data_key_batches.hpp"
#include "pg/data_key_writer.hpp"
#include "pg/key_arguments.hpp"

namespace kms::pg {
namespace {

WrappedDataKey wrapped_key(const DataKeyRow& row) {
    const DataKeyVersion& key = row.key;
    return {{row.name, key.version, *algorithm_named(key.algorithm)},
            key.tag,
            key.wrapped.bytes,
            key.wrapped_before.bytes};
}

Status wrap_batch(const KeyUse& kek, DataKeyBatch& batch, NewForm* forms) {
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
        forms[i] = {batch.rows[i].name, batch.rows[i].key.version, wrapped.version, bytes,
                    made[i].opened_before};
    }
    return {};
}

void rewrap_batch(const KeyUse& kek, DataKeyBatch& batch) {
    for (const DataKeyRow& row : batch.all()) {
        (void)required_algorithm({"wrap data key", 0, row.name}, row.key.algorithm);
    }
    auto* forms = allocate_many<NewForm>(batch.count);
    Session& session = pg::session();
    const Failure failure =
        in_session(session, kek.subject(), [&] { return wrap_batch(kek, batch, forms); });
    finish_batch(session, failure, batch);
    replace_wrapped_forms({forms, batch.count});
}

}  // namespace

std::size_t rewrap_data_keys(const KeyUse& kek) {
    std::size_t count = 0;
    for_each_batch(kek.identifier, [&](DataKeyBatch& batch) {
        rewrap_batch(kek, batch);
        count += batch.count;
    });
    return count;
}

}  // namespace kms::pg
