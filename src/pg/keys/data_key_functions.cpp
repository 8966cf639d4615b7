// Data keys of envelope mode, rows of kms.data_key: create_data_key, rotate_data_key,
// enable_data_key, disable_data_key, and the view data_keys. Rolled back, nothing of it has been.
#include <algorithm>

#include "client/calls/new_data_key.hpp"
#include "pg/keys/administer.hpp"
#include "pg/keys/name_at_agent.hpp"
#include "pg/keys/retirement.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/rows.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/server/transaction.hpp"
#include "pg/stored/change_lock.hpp"
#include "pg/stored/data_key_lookup.hpp"
#include "pg/stored/data_key_writer.hpp"
#include "pg/stored/made_versions.hpp"
#include "pg/stored/version_lock.hpp"

namespace kms::pg {
namespace {

[[noreturn]] void raise_existing(ByteView name) {
    raise_error({"create data key", 0, name}, Code::invalid, "There is a data key of that name.");
}

// A copy at the agent may have gone on by itself: no number shall stand for two keys.
std::uint32_t version_after(const DataKeyVersion& newest, ByteView name) {
    const std::uint32_t highest = std::max(newest.version, newest_at_agent(name));
    if (highest >= wire::max_version) {
        raise_error({"rotate data key", 0, name}, Code::too_large, "It has too many versions.");
    }
    return highest + 1;
}

// Whether whoever may start the agent can have the KEK itself.
enum class KekExport { stays, unknown, leaves };

KekExport export_of(const KeyAgent& agent, const std::optional<DescribedKey>& kek) {
    if (!agent.offers(wire::verb::get)) {
        return KekExport::stays;
    }
    if (!kek || !kek->uses.exportable) {
        return KekExport::unknown;
    }
    return *kek->uses.exportable ? KekExport::leaves : KekExport::stays;
}

void warn_of_export(ByteView kek, KekExport exported) {
    if (exported != KekExport::stays) {
        ereport(WARNING,
                (errmsg("the KEK \"%s\" %s exportable", shown_identifier(kek),
                        exported == KekExport::leaves ? "is" : "may be"),
                 errdetail("Whoever can ask the agent for the KEK itself opens every data key that "
                           "it wraps, in backups too."),
                 errhint("Make KEKs with kms.create_key(kek, purpose => 'wrap'), or let the agent "
                         "offer no get: kms-agent serve --verbs wrap,unwrap,describe.")));
    }
}

// The agent's KEK wraps a fresh key, whose row it becomes.
Datum add_version(ByteView kek, const DataKeyId& id) {
    const KeyUse use = use_of_identifier(
        psprintf("wrap data key \"%s\" with key", shown_identifier(id.name)), kek);
    KeyTag tag;
    std::uint32_t kek_version = 0;
    KekExport exported = KekExport::unknown;
    ask(use, [&](Session& session, Line line) -> Status {
        KMS_ASSIGN(NewDataKey made, make_data_key(line, kek, id));
        exported = export_of(line.agent, made.kek);
        tag = made.tag;
        kek_version = made.wrapped.version;
        session.reply = std::move(made.wrapped.bytes);
        return {};
    });
    if (!insert_data_key({kek,
                          id,
                          tag,
                          {kek_version, copy_of(session().reply.view())},
                          kek_version,
                          wire::VersionState::enabled,
                          GetCurrentTransactionStartTimestamp()})) {
        raise_existing(id.name);
    }
    note_made(id.name, id.version, tag);
    warn_of_export(kek, exported);
    warn_of_limit(id.algorithm);
    return UInt32GetDatum(id.version);
}

// What the agent cannot tell, only a superuser may know better.
bool force_argument(FunctionCallInfo fcinfo, int index) {
    const bool force = required_bool(fcinfo, index, "force");
    if (force && !superuser()) {
        ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                        errmsg("only a superuser may force a data key that is called like a key of "
                               "the agent")));
    }
    return force;
}

// Rows are counted twice, so that who waits for a table keeps nobody from the KEK, or from sealing.
void refuse_early(const char* action, ByteView name, const DataKeyVersion& key) {
    if (key.state == wire::VersionState::enabled) {
        refuse_if_uncountable(action, name, key.version, key.algorithm);
        without_keeping_locks([&] { refuse_if_needed(action, name, key.version, key.tag); });
    }
}

// Waits for those who have sealed under the version, before its KEK is locked, which others need.
void prepare_disabling(const char* action, ByteView name, const DataKeyVersion& key, bool force) {
    if (!force) {
        refuse_early(action, name, key);
        refuse_if_sealed_here(action, name, key.version, key.tag);
    }
    lock_for_retiring(key.tag);
}

void refuse_late(const char* action, ByteView name, const DataKeyVersion& key) {
    refuse_if_uncountable(action, name, key.version, key.algorithm);  // it may have been disabled
    refuse_if_needed_behind_lock(action, name, key.version, key.tag);
}

// Nothing to do where it is so already.
Datum change_state(FunctionCallInfo fcinfo, const char* action, wire::VersionState state,
                   bool force) {
    const ByteView name = required_identifier(fcinfo, 0, "name");
    const std::uint32_t version = version_argument(fcinfo, 1);
    const bool retires = state == wire::VersionState::disabled;
    if (retires) {
        prepare_disabling(action, name, version_of(action, name, version), force);
    }
    const DataKeyVersion key = lock_version(action, name, version);
    if (key.state == wire::VersionState::destroyed) {
        raise_error({action, 0, name}, Code::disabled,
                    psprintf("Version %u is destroyed.", version));
    }
    if (key.state != state) {
        if (retires && !force) {
            refuse_late(action, name, key);
        }
        set_data_key_state(name, version, state);
    }
    PG_RETURN_VOID();
}

void add_row(RowSet& rows, const DataKeyRow& row) {
    const DataKeyVersion& key = row.key;
    Datum values[8] = {identifier_datum(row.name),
                       UInt32GetDatum(key.version),
                       text_datum(key.algorithm),
                       bytes_datum(key.tag),
                       text_datum(wire::state_word(key.state)),
                       TimestampTzGetDatum(key.created),
                       identifier_datum(key.kek),
                       UInt32GetDatum(key.kek_version_last)};
    bool nulls[8] = {};
    rows.add(values, nulls);
}

}  // namespace

KMS_FUNCTION(kms_create_data_key) {
    require_own_data_keys("kms.create_data_key()");
    const ByteView name = required_identifier(fcinfo, 0, "name");
    const ByteView kek = required_identifier(fcinfo, 1, "kek");
    const Algorithm algorithm = algorithm_argument(fcinfo, 2);
    const bool force = force_argument(fcinfo, 3);
    share_kek(kek);
    lock_name(name, KeyPlace::database);
    if (read_data_key(name).newest() != nullptr) {
        raise_existing(name);
    }
    const Datum result = add_version(kek, {name, 1, algorithm});
    if (!force) {
        require_unknown_to_agent("create data key", name);
    }
    return result;
}

KMS_FUNCTION(kms_rotate_data_key) {
    require_own_data_keys("kms.rotate_data_key()");
    const ByteView name = required_identifier(fcinfo, 0, "name");
    const DataKeyVersion newest = lock_newest_version("rotate data key", name);
    const Algorithm algorithm = required_algorithm({"rotate data key", 0, name}, newest.algorithm);
    const std::uint32_t version = version_after(newest, name);
    const Datum result = add_version(newest.kek, {name, version, algorithm});
    warn_of_new_terms(name, version, algorithm);
    return result;
}

KMS_FUNCTION(kms_enable_data_key) {
    require_own_data_keys("kms.enable_data_key()");
    return change_state(fcinfo, "enable data key", wire::VersionState::enabled, true);
}

KMS_FUNCTION(kms_disable_data_key) {
    require_own_data_keys("kms.disable_data_key()");
    const bool force = required_bool(fcinfo, 2, "force");
    if (!force && may_be_needed()) {
        require_nothing_changed("kms.disable_data_key()");
    }
    return change_state(fcinfo, "disable data key", wire::VersionState::disabled, force);
}

KMS_FUNCTION(kms_data_keys) {
    RowSet rows(fcinfo);
    for_each_data_key([&](const DataKeyRow& row) { add_row(rows, row); });
    PG_RETURN_NULL();
}

}  // namespace kms::pg
