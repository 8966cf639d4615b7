// set_key, unset_key and the view session_keys.
#include <algorithm>

#include "pg/keys/key_age.hpp"
#include "pg/server/rows.hpp"
#include "pg/session/asking.hpp"
#include "pg/session/settings.hpp"
#include "pg/values/values.hpp"

namespace kms::pg {
namespace {

std::int32_t required_local_id(FunctionCallInfo fcinfo) {
    const std::int32_t local_id = required_int(fcinfo, 0, "local_id");
    if (local_id < 1 || local_id > max_local_id) {
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                 errmsg("a local id is a number from 1 to %d, not %d", max_local_id, local_id)));
    }
    return local_id;
}

// `make` returns the new text of kms.keys; it is copied to PostgreSQL's memory.
template <typename Make>
const char* new_key_list(const Subject& subject, Make&& make) {
    Session& session = pg::session();
    const Failure failure = guarded(subject, [&]() -> Status {
        session.text = make();
        return {};
    });
    if (failure) {
        raise(failure);
    }
    return pstrdup(session.text.c_str());
}

// Local and envelope modes fetch the DEK now; remote mode asks after the key where the agent can
// tell.
Status probe(Session& session, const KeyUse& use) {
    if (mode() != Mode::remote) {
        KMS_TRY(session.current_key(use));
        return {};
    }
    KMS_ASSIGN(Line line, session.line(use));
    if (line.agent.offers(wire::verb::describe)) {
        KMS_TRY(describe_key(line, use.identifier));
    }
    return {};
}

// A bad identifier fails here and not at the first row. A key whose current version is disabled is
// bound all the same: its older versions may still be read.
void probe_now(const Subject& subject, std::int32_t local_id) {
    Session& session = pg::session();
    KeyUse use = use_of_identifier(subject.action, subject.identifier);
    use.local_id = local_id;
    session.bound_under = 0;
    const Failure failure =
        ask_for_data_key(session, use, subject, [&] { return probe(session, use); });
    if (failure && failure.cause.code == Code::disabled) {
        ereport(WARNING,
                (errcode(failure.cause.sqlstate),
                 errmsg("the current version of the key bound to local id %d is disabled or "
                        "destroyed",
                        local_id),
                 errdetail("Values sealed under its other versions can be decoded; nothing can be "
                           "encoded.")));
    } else if (failure) {
        raise(failure);
    }
    warn_if_old(use);
}

// Where nobody reports errors of an outer statement, but for the parameters that came with it.
bool is_clients_own_statement() {
    const ErrorContextCallback* outer = error_context_stack;
    return outer == nullptr ||
           (outer->callback == ParamsErrorCallback && outer->previous == nullptr);
}

// As SET LOCAL warns. In a function it lasts as long as that.
void warn_if_gone_at_once(bool is_local) {
    if (is_local && !IsTransactionBlock() && is_clients_own_statement()) {
        ereport(WARNING,
                (errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
                 errmsg("kms.set_key(..., is_local => true) ends with its statement, outside of a "
                        "transaction block"),
                 errhint("BEGIN first. What is used next is the session's own binding, if it has "
                         "one.")));
    }
}

void bind_key(std::int32_t local_id, ByteView identifier, bool is_local) {
    require_settable(is_local);
    warn_if_gone_at_once(is_local);
    const KeyList& keys = key_list();
    const Subject subject = {psprintf("bind local id %d to key", local_id), 0, identifier};
    const char* text =
        new_key_list(subject, [&] { return with_binding(keys, local_id, identifier); });
    probe_now(subject, local_id);
    set_key_list(text, is_local);
}

// What the view shows of a binding's key, if it is held.
struct HeldColumns {
    bool held = false;
    std::uint32_t version;
    KeyTag tag;
    std::string_view algorithm;
    TimestampTz fetched_at;
};

HeldColumns held_columns(ByteView identifier) {
    HeldKeys* keys =
        session_if_any != nullptr ? session_if_any->cache.find(GetUserId(), identifier) : nullptr;
    HeldKey* key = keys != nullptr ? keys->current : nullptr;
    if (mode() == Mode::remote || key == nullptr || key->wiped) {
        return {};
    }
    return {true, key->version, key->key.tag(), info_of(key->key.algorithm()).name,
            timestamp_of(
                std::chrono::floor<std::chrono::microseconds>(key->fetched_on.time_since_epoch()))};
}

void add_row(RowSet& rows, const Binding& binding, ByteView identifier) {
    const HeldColumns key = held_columns(identifier);
    const std::int64_t ttl = cache_ttl().count();
    Datum values[8] = {Int32GetDatum(binding.local_id), identifier_datum(identifier),
                       CStringGetTextDatum(mode_name())};
    bool nulls[8] = {false, false, false, true, true, true, true, true};
    if (key.held) {
        values[3] = Int32GetDatum(static_cast<std::int32_t>(key.version));
        values[4] = bytes_datum(key.tag);
        values[5] = text_datum(key.algorithm);
        values[6] = TimestampTzGetDatum(key.fetched_at);
        values[7] = TimestampTzGetDatum(key.fetched_at + ttl * USECS_PER_SEC);
        std::fill(nulls + 3, nulls + 7, false);
        nulls[7] = ttl == 0;
    }
    rows.add(values, nulls);
}

}  // namespace

KMS_FUNCTION(kms_set_key) {
    const std::int32_t local_id = required_local_id(fcinfo);
    const ByteView identifier = required_identifier(fcinfo, 1);
    bind_key(local_id, identifier, required_bool(fcinfo, 2, "is_local"));
    PG_RETURN_VOID();
}

KMS_FUNCTION(kms_unset_key) {
    const std::int32_t local_id = required_local_id(fcinfo);
    require_settable(false);
    const KeyUse use = use_of_local_id("unbind", local_id);
    const KeyList& keys = key_list();
    set_key_list(new_key_list(use.subject(), [&] { return without_binding(keys, local_id); }),
                 false);
    PG_RETURN_VOID();
}

KMS_FUNCTION(kms_session_keys) {
    const KeyList& keys = key_list();
    RowSet rows(fcinfo);
    for (const Binding& binding : keys.bindings()) {
        add_row(rows, binding, keys.identifier(binding));
    }
    PG_RETURN_NULL();
}

}  // namespace kms::pg
