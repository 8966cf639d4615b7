// A column goes to another key, or its values to another context: the registration says where to
// and where from as soon as the run begins, and so whoever goes on with it knows both.
#include <algorithm>

#include "pg/columns/column_state.hpp"
#include "pg/columns/in_step_trigger.hpp"
#include "pg/columns/opening.hpp"
#include "pg/columns/registry_writer.hpp"
#include "pg/columns/sealed_contexts.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

// As it is registered; nullptr for the empty one, and where there is none.
const char* checked(const Rewriting& run, Relation table, const char* context) {
    return context != nullptr && context[0] != '\0' ? checked_context(table, run.target, context)
                                                    : nullptr;
}

// Where a trigger seals the column as its rows are written, in step with a plaintext.
void require_sealable(const Rewriting& run, Relation table, const char* context) {
    const char* column = get_attname(run.relation, run.target, false);
    if (find_in_step_trigger_into(table, column).name != nullptr) {
        require_context_at_hand(run.relation, context);
    }
}

// The move, its expressions as they are registered. Until the transaction ends the table is locked,
// so that nobody else gives it another owner, whose code they would be.
Move checked_move(const Rewriting& run) {
    const Relation table = relation_open(run.relation, AccessShareLock);
    require_owner(run.relation);
    Move move = run.move;
    move.context = checked(run, table, move.context);
    require_over_nothing_sealed(table, move.context);
    warn_of_updates(table, {{}, nullptr, move.context});
    require_sealable(run, table, move.context);
    move.was_context = checked(run, table, move.was_context);
    relation_close(table, NoLock);
    return move;
}

// Whoever goes on with what somebody else has begun opens values of one key to seal them under
// another, and is to know which.
void require_meant(const Rewriting& run, const RegisteredColumn& column) {
    const bool is_within_key = is_same_key(column.now(), column.was);
    const bool is_meant =
        !run.move.key_identifier.empty() || (run.move.is_wanted() && is_within_key);
    if (column.is_moving && !run.is_between_columns() && !is_meant) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("%s is being moved from %s to %s", column_label(run),
                        shown_sealed_as(column.was), shown_sealed_as(column.now())),
                 errhint("Say %s once more, and CALL %s goes on with it.",
                         is_within_key ? "new_key or new_context" : "new_key", run.procedure)));
    }
}

SealedAs wanted_by(const Rewriting& run, const Move& move, const SealedAs& now) {
    return {
        .key_identifier = !move.key_identifier.empty() ? move.key_identifier : now.key_identifier,
        .key_expression = nullptr,
        .context_expression = run.move.context != nullptr ? move.context : now.context_expression};
}

[[noreturn]] void raise_other_move(const Rewriting& run) {
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("%s is being moved to another key or context already", column_label(run)),
             errhint("CALL %s with the same new_key and new_context until all rows are there; or "
                     "say where they come from, and they go back.",
                     run.procedure)));
    pg_unreachable();
}

// What values of before are sealed as. A move that is over may have left some behind: of another
// key only for whoever names the one that they go to.
SealedAs left_by(const Rewriting& run, const RegisteredColumn& column, const SealedAs& wanted) {
    if (is_same(wanted, column.now())) {
        const bool has_left =
            !column.was.key_identifier.empty() &&
            (!run.move.key_identifier.empty() || is_same_key(column.now(), column.was));
        return has_left ? column.was : column.now();
    }
    if (column.is_moving && !is_same(wanted, column.was)) {
        raise_other_move(run);
    }
    return column.now();
}

// The run goes on with what it has registered.
void register_move(Rewriting& run, const RegisteredColumn& column, const SealedAs& now,
                   const SealedAs& was) {
    auto* moved = static_cast<RegisteredColumn*>(palloc(sizeof(RegisteredColumn)));
    *moved = column;
    moved->key_identifier = now.key_identifier;
    moved->context_expression = now.context_expression;
    moved->was = was;
    moved->is_moving = !is_same(now, was);
    change_registration(column, now, was, moved->is_moving);
    run.began_with = moved;
}

// All else that keeps the expression from being read can be mended where it is.
void hint_at_was_context(void* /*argument*/) {
    if (geterrcode() != ERRCODE_UNDEFINED_COLUMN &&
        geterrcode() != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE) {
        return;
    }
    errhint(
        "Columns of the context that values had before have changed since. Say as was_context "
        "what the values that are left are sealed with; '' is the empty context.");
}

// Before anything of it is committed: what nobody can read would keep all else from the column.
void require_readable_before(const Rewriting& run, const SealedAs& was, const SealedAs& now) {
    ErrorContextCallback callback = {error_context_stack, hint_at_was_context, nullptr};
    error_context_stack = &callback;
    (void)find_registered_column(run.relation, run.target);
    const Relation table = relation_open(run.relation, AccessShareLock);
    if (was.context_expression != nullptr) {
        run_owners_code(owner_of(run.relation),
                        [&] { (void)stored_context(table, was.context_expression); });
    }
    error_context_stack = callback.previous;
    if (!is_same_context(was, now)) {
        warn_of_updates_meanwhile(table, was.context_expression);
    }
    relation_close(table, NoLock);
}

// Neither the key that rows come from has one name, nor the one that they go to.
void refuse_move_of_rows_keys(const Rewriting& run, const RegisteredColumn& column) {
    if (column.key_expression != nullptr && (run.move.is_wanted() || !run.was_key.empty())) {
        ereport(
            ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("%s moves no column whose rows name their keys", run.procedure),
             errdetail("%s is registered with key %s.", column_label(run), shown_key(column.now())),
             errhint("To give a row another key, UPDATE its value, to what kms.encode_with() "
                     "seals of what kms.decode_with() opens, in one statement with what names the "
                     "key. For another expression do so with all rows, and register the column "
                     "anew in the same transaction: kms.unregister_column(), "
                     "kms.register_column().")));
    }
}

// The one that kms.switch_column() has handed on, or another, seals as it was written. What it
// makes behind the run is found by nobody.
void warn_of_other_defaults(const Rewriting& run) {
    warn_of_defaults(run.relation, get_attname(run.relation, run.target, false),
                     psprintf("ALTER COLUMN ... SET DEFAULT with the new key and context, or DROP "
                              "DEFAULT where the context depends on the row; and CALL %s with the "
                              "same arguments once more.",
                              run.procedure));
}

}  // namespace

void read_move_arguments(FunctionCallInfo fcinfo, Rewriting& run, int first) {
    run.move = {.key_identifier = key_argument(fcinfo, first, "new_key"),
                .context = text_argument(fcinfo, first + 1),
                .was_context = text_argument(fcinfo, first + 3)};
    run.was_key = key_argument(fcinfo, first + 2, "was_key");
}

// What checks expressions runs code of the table's owner, which may register anew. Behind that
// nothing of his runs before the registration is written.
void begin_move(Rewriting& run) {
    const Move move = checked_move(run);
    const RegisteredColumn& column = registration_of(run);
    refuse_move_of_rows_keys(run, column);
    require_meant(run, column);
    if (!run.move.is_wanted()) {
        require_said_key(run, column.now());
        return;
    }
    const SealedAs wanted = wanted_by(run, move, column.now());
    SealedAs was = left_by(run, column, wanted);
    if (run.move.was_context != nullptr) {
        was.context_expression = move.was_context;
    }
    require_said_key(run, was);
    const bool is_there = is_same(wanted, column.now()) && is_same(wanted, was);
    if (column.is_moving || !is_there) {
        require_known_key(run, was);
        require_not_opened(run.relation, run.target);
        require_may_open(get_rel_name(run.relation), get_attname(run.relation, run.target, false));
        register_move(run, column, wanted, was);
        require_readable_before(run, was, wanted);
        warn_of_other_defaults(run);
    }
}

void end_move(const Rewriting& run) {
    if (run.is_between_columns()) {
        return;
    }
    const RegisteredColumn& column = registration_of(run);
    if (column.is_moving && run.left == 0 && run.open_writers == 0 && run.bad_in_pass.count == 0) {
        change_registration(column, column.now(), column.was, false);
    }
}

}  // namespace kms::pg
