// switch_column: the column that another is kept in step with goes, and the other takes over.
#include "pg/columns/column_state.hpp"
#include "pg/columns/in_step_trigger.hpp"
#include "pg/columns/opening.hpp"
#include "pg/columns/registry_writer.hpp"
#include "pg/pairs/older_snapshots.hpp"
#include "pg/pairs/pair_comparison.hpp"
#include "pg/pairs/succession.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/subtransaction.hpp"
#include "pg/server/transaction.hpp"
#include "pg/session/session.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/publications.hpp"
#include "pg/tables/table_change.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

constexpr const char* function = "kms.switch_column";

// What is switched: a column that a trigger keeps in step with another.
struct Switch {
    Pair pair;
    const char* trigger;
    Oid trigger_number;
    const RegisteredColumn* registered;  // of the encrypted column
};

// A rehearsal tells of a column that is not being encrypted what there would be if it were, with
// the empty context.
Switch switch_to_come(Oid relation, const char* column) {
    return {.pair = with_tables({.relation = relation,
                                 .opens = false,
                                 .plain = column,
                                 .encrypted = psprintf("%s_encrypted", column),
                                 .sealed_as = {bytes_of("key"), nullptr, nullptr},
                                 .tables = {}}),
            .trigger = nullptr,
            .trigger_number = InvalidOid,
            .registered = nullptr};
}

const RegisteredColumn* registration_of(Oid relation, const InStepTrigger& trigger) {
    const char* encrypted = trigger.opens ? trigger.source : trigger.target;
    return trigger.name != nullptr
               ? find_registered_column(relation, get_attnum(relation, encrypted))
               : nullptr;
}

// From the lock on nothing of the owner's runs: what is found is of one moment.
Switch find_switch(FunctionCallInfo fcinfo, bool dry_run) {
    const Oid relation = relation_argument(fcinfo, 0);
    require_own_table(function, relation);
    require_whole_pairs(relation);
    require_fires_last(relation);
    const char* source = get_attname(relation, column_argument(fcinfo, 1, relation), false);
    const Relation table = relation_open(relation, AccessShareLock);
    const InStepTrigger trigger = find_in_step_trigger(table, source);
    if (trigger.name != nullptr) {
        const AttrNumber target = attribute_named(table, trigger.target);
        require_bytea(table, trigger.opens ? attribute_named(table, source) : target);
    }
    relation_close(table, NoLock);
    if (trigger.name == nullptr && dry_run) {
        return switch_to_come(relation, source);
    }
    const RegisteredColumn* column = registration_of(relation, trigger);
    if (column == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is not being encrypted or decrypted",
                               source, get_rel_name(relation)),
                        errhint("CALL kms.encrypt_column() or kms.decrypt_column() first.")));
    }
    require_not_moving(*column);
    if (trigger.opens) {
        require_opens_as(trigger.opens_as, *column);
    } else {
        require_unregistered(relation, get_attnum(relation, source));
    }
    return {.pair = with_tables({.relation = relation,
                                 .opens = trigger.opens,
                                 .plain = trigger.opens ? trigger.target : source,
                                 .encrypted = trigger.opens ? source : trigger.target,
                                 .sealed_as = column->now(),
                                 .tables = {}}),
            .trigger = trigger.name,
            .trigger_number = get_trigger_oid(relation, trigger.name, false),
            .registered = column};
}

void require_nothing_in_the_way(const Pair& pair, const Succession& succession) {
    if (succession.in_the_way[0] != '\0') {
        ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                        errmsg("column \"%s\" of \"%s\" cannot be dropped, since others need it",
                               pair.from(), get_rel_name(pair.relation)),
                        errdetail("%s", succession.in_the_way), errhint("%s", succession.way_out)));
    }
}

void require_nothing_lost(const Pair& pair, const Succession& succession) {
    if (succession.lost[0] != '\0') {
        ereport(ERROR,
                (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
                 errmsg("column \"%s\" of \"%s\" would be dropped with what column \"%s\" "
                        "cannot take over",
                        pair.from(), get_rel_name(pair.relation), pair.to()),
                 errdetail("%s", succession.lost),
                 errhint("Make over column \"%s\" what you need of it, UNIQUE and indexes over "
                         "a blind index where equal values are not sealed alike, and say "
                         "drop_constraints => true.",
                         pair.to())));
    }
}

void tell(const char* what, const Pair& pair, const char* lines) {
    if (lines[0] != '\0') {
        ereport(NOTICE, (errmsg("%s column \"%s\" of \"%s\"", what, pair.from(),
                                get_rel_name(pair.relation)),
                         errdetail("%s", lines)));
    }
}

void rehearse(const Pair& pair) {
    const Succession succession = succession_of(pair);
    tell("would be handed on from", pair, succession.handed_on);
    tell("would be lost with", pair, succession.lost);
    tell("would be in the way of dropping", pair, succession.in_the_way);
}

// While values are compared others read the table. Who then writes to it, in the same transaction,
// waits for this one, which in the end waits for them.
void hint_at_lock(void* table) {
    if (geterrcode() == ERRCODE_T_R_DEADLOCK_DETECTED) {
        errhint(
            "A transaction that had read the table was about to write to it. Keep readers out "
            "as well: LOCK TABLE %s IN ACCESS EXCLUSIVE MODE before the switch, in one "
            "transaction.",
            static_cast<const char*>(table));
    }
}

// Whoever may not have it keeps nobody waiting, and who waits for it has no other: another switch
// of the table would wait for that in the end. Others change nothing of what is found after that.
Switch lock_switch(FunctionCallInfo fcinfo) {
    Oid relation = InvalidOid;
    without_keeping_locks([&] { relation = find_switch(fcinfo, false).pair.relation; });
    LockRelationOid(relation, ShareRowExclusiveLock);
    (void)find_all_inheritors(relation, ShareRowExclusiveLock, nullptr);
    return find_switch(fcinfo, false);
}

// Code of the table's owner has run since it was read: what has been compared with one key must not
// end as registered with another.
const RegisteredColumn& require_same_registration(const Switch& what) {
    const Pair& pair = what.pair;
    const RegisteredColumn* column =
        find_registered_column(pair.relation, get_attnum(pair.relation, pair.encrypted));
    if (column == nullptr || !is_same(*column, *what.registered)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("what is registered of column \"%s\" of \"%s\" has changed while "
                               "its values were compared",
                               pair.encrypted, get_rel_name(pair.relation))));
    }
    return *column;
}

void drop_trigger(const Switch& what) {
    const Oid table = what.pair.relation;
    if (get_trigger_oid(table, what.trigger, true) != what.trigger_number) {
        raise_changed(table);
    }
    change_table({.table = table,
                  .before = psprintf("DROP TRIGGER %s ON ", quote_identifier(what.trigger)),
                  .after = ""},
                 [&] { return get_trigger_oid(table, what.trigger, true) == InvalidOid; });
}

void drop_column(const Pair& pair) {
    require_unchanged(pair);
    change_table({.table = pair.relation,
                  .before = "ALTER TABLE ",
                  .after = psprintf(" DROP COLUMN %s", quote_identifier(pair.from()))},
                 [&] { return is_switched(pair); });
}

std::int64_t carry_out(const Switch& what, bool drop_constraints) {
    const Succession succession = succession_of(what.pair);
    require_nothing_in_the_way(what.pair, succession);
    if (!drop_constraints) {
        require_nothing_lost(what.pair, succession);
    }
    require_found_by_subscribers(what.pair.relation, what.pair.from());
    require_may_open(get_rel_name(what.pair.relation), what.pair.from());
    require_no_older_snapshot(what.pair);
    // What only this session still opens is lost with the plaintext.
    forget_keys();
    const std::int64_t compared = compare_pair(what.pair);
    require_unchanged(what.pair);
    drop_trigger(what);
    hand_on(what.pair);
    if (what.pair.opens) {
        // Its values go with it on purpose: nothing is to be said of them.
        remove_registration(require_same_registration(what));
    }
    drop_column(what.pair);
    if (!what.pair.opens) {
        (void)require_same_registration(what);
    }
    return compared;
}

// That may have had a value of the column, in statistics or as a constant of an expression.
constexpr char catalogs_with_values[] =
    "pg_statistic, pg_statistic_ext_data, pg_statistic_ext, pg_attrdef, pg_attribute, "
    "pg_constraint, pg_index, pg_policy, pg_trigger, pg_rewrite, pg_proc, pg_type, "
    "pg_publication_rel";

void tell_end(const Pair& pair, std::int64_t compared) {
    ereport(NOTICE,
            (errmsg("%lld rows of \"%s\" have their values in column \"%s\" alone",
                    static_cast<long long>(compared), get_rel_name(pair.relation), pair.to()),
             pair.opens
                 ? errdetail("They are in plaintext, and column \"%s\" is no longer registered.",
                             pair.from())
                 : errdetail("The plaintext is still in the table's files, in WAL and in backups."),
             pair.opens
                 ? 0
                 : errhint("VACUUM (FULL, VERBOSE) %s, %s; takes it out of files of the database, "
                           "where it says of each that 0 dead row versions cannot be removed yet.",
                           quoted_name(pair.relation), catalogs_with_values)));
}

}  // namespace

KMS_FUNCTION(kms_switch_column) {
    const bool drop_constraints = required_bool(fcinfo, 2, "drop_constraints");
    const bool dry_run = required_bool(fcinfo, 3, "dry_run");
    if (!dry_run) {
        require_writable("kms.switch_column()");
        require_read_committed(function);
    }
    SPI_connect();
    if (dry_run) {
        rehearse(find_switch(fcinfo, true).pair);
    } else {
        const Switch what = lock_switch(fcinfo);
        const char* table = quoted_name(what.pair.relation);
        ErrorContextCallback callback = {error_context_stack, hint_at_lock,
                                         const_cast<char*>(table)};
        error_context_stack = &callback;
        tell_end(what.pair, carry_out(what, drop_constraints));
        error_context_stack = callback.previous;
    }
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
