// The key that a column is registered with, and its current version, whoever has rotated it.
#include "pg/columns/registry.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/session/session.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

// Whoever has the registration changed in the middle of a run would have it open values of another
// key, in the name of its caller.
void require_as_begun(const Rewriting& run, const RegisteredColumn& column) {
    if (run.began_with != nullptr && !is_same(column, *run.began_with)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("what is registered of %s has changed while %s was running",
                        column_label(run), run.procedure),
                 errdetail("It began with %s; now there is %s.",
                           shown_sealed_as(run.began_with->now()), shown_sealed_as(column.now())),
                 errhint("Look at kms.registered_columns, and CALL it again.")));
    }
}

// While decrypt_column begins, its target is not there yet.
const char* registered_label(const Rewriting& run) {
    return psprintf("column \"%s\" of \"%s\"", get_attname(run.relation, run.registered(), false),
                    get_rel_name(run.relation));
}

// A part that was registered before it became one.
void require_not_covered(const Rewriting& run, const RegisteredColumn& column) {
    if (const RegisteredColumn* root =
            covering(column.relation, column.column_name, registered_columns())) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("%s is registered as %s", registered_label(run), full_name(*root)),
                 errdetail("\"%s\" is a part of that table, and what it was registered with before "
                           "does not count.",
                           get_rel_name(run.relation)),
                 errhint("CALL %s for \"%s\", and take back the registration of \"%s\" with "
                         "kms.unregister_column().",
                         run.procedure, root->relation_name, get_rel_name(run.relation))));
    }
}

}  // namespace

const char* shown_sealed_as(const SealedAs& sealed_as) {
    const char* context = sealed_as.context_expression;
    return psprintf("key %s and %s", shown_key(sealed_as),
                    context != nullptr ? psprintf("context %s", context) : "the empty context");
}

const RegisteredColumn& registration_of(const Rewriting& run) {
    const RegisteredColumn* column = find_registered_column(run.relation, run.registered());
    if (column == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("%s is not registered", column_label(run)),
                        errhint("Say which key it has with kms.register_column().")));
    }
    require_not_covered(run, *column);
    require_as_begun(run, *column);
    return *column;
}

void require_said_key(const Rewriting& run, const SealedAs& source) {
    if (!run.was_key.empty() && !std::ranges::equal(run.was_key, source.key_identifier)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("values of %s come from %s, and not from key \"%s\"", registered_label(run),
                        shown_sealed_as(source), shown_identifier(run.was_key)),
                 errdetail("So it is registered, by whoever owns the table or did."),
                 errhint("Look at kms.registered_columns before you say another was_key.")));
    }
}

// What is registered says which key is asked for, in the caller's name: who owns a table may have
// registered one that he is not served himself. A membership says nothing: he may have given it.
void require_known_key(const Rewriting& run, const SealedAs& source) {
    if (run.was_key.empty() && GetUserId() != owner_of(run.relation)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("values of %s would be opened with %s", registered_label(run),
                        shown_sealed_as(source)),
                 errdetail("Whoever owns the table has registered that, and may not be served the "
                           "key that you are."),
                 errhint("Look at kms.registered_columns, and say as was_key which key the column "
                         "is to have there; or call %s as the owner.",
                         run.procedure)));
    }
}

void require_usable_key(const char* action, ByteView identifier) {
    if (!identifier.empty()) {
        (void)current_tag({action, 0, {}, {}, identifier});
    }
}

RunKey current_key(Rewriting& run, bool anew) {
    const RegisteredColumn& column = registration_of(run);
    RunKey key = {.action = run.action,
                  .identifier = column.key_identifier,
                  .tag = {},
                  .key_expression = column.key_expression,
                  .context_expression = column.context_expression,
                  .was = column.was,
                  .is_moving = column.is_moving && !run.is_between_columns(),
                  .is_of_each_row = column.key_expression != nullptr && !run.is_between_columns(),
                  .has_hidden = run.has_hidden};
    const TimestampTz now = GetCurrentTimestamp();
    if (anew) {
        forget_tags(*run.current_tags);
    }
    if (key.identifier.empty()) {
        return key;
    }
    if (anew || TimestampDifferenceExceeds(run.refreshed, now, believed_ms)) {
        forget_key({key.action, 0, key.identifier});
        run.refreshed = now;
    }
    if (!run.opens) {
        key.tag = copy_of(current_tag({run.action, 0, {}, {}, key.identifier}));
    }
    return key;
}

}  // namespace kms::pg
