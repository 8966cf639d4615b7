// encrypt_column: a new column that holds the values of another, encrypted. From the start a
// trigger keeps both in step; what was there before is filled in as reencrypt does it.
#include <algorithm>

#include "pg/columns/column_state.hpp"
#include "pg/columns/in_step_trigger.hpp"
#include "pg/columns/registry.hpp"
#include "pg/columns/sealed_contexts.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/pairs/keys_of_rows.hpp"
#include "pg/pairs/new_column.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/tables/owner.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

constexpr const char* procedure = "kms.encrypt_column";

struct Wanted {
    const char* plain;
    const char* encrypted;
    ByteView key_identifier;  // empty where each row names its key
    const char* key;          // by this expression, then
    const char* context;      // nullptr: the empty one
};

void register_encrypted(Oid relation, const Wanted& wanted) {
    const bool has_one_key = wanted.key == nullptr;
    Oid types[] = {OIDOID, NAMEOID, has_one_key ? Oid{BYTEAOID} : Oid{TEXTOID}, TEXTOID};
    Datum values[] = {
        ObjectIdGetDatum(relation), name_datum(wanted.encrypted),
        has_one_key ? bytes_datum(wanted.key_identifier) : CStringGetTextDatum(wanted.key),
        wanted.context != nullptr ? CStringGetTextDatum(wanted.context) : Datum{0}};
    const char nulls[] = {' ', ' ', ' ', wanted.context != nullptr ? ' ' : 'n', '\0'};
    const char* statement = has_one_key ? "SELECT kms.register_column($1, $2, $3, $4)"
                                        : "SELECT kms.register_column($1, $2, key_expression => $3,"
                                          " context_expression => $4)";
    if (SPI_execute_with_args(statement, lengthof(types), types, values, nulls, false, 0) < 0) {
        elog(ERROR, "could not register the column");
    }
}

const char* shown_context(const char* context) {
    return context != nullptr ? psprintf("\"%s\"", context) : "the empty context";
}

// A stored one is read as it was written, and a name in it may have changed since.
const char* stored_again(Relation table, AttrNumber attribute, const char* context) {
    const char* again = nullptr;
    run_owners_code(table->rd_rel->relowner,
                    [&] { again = checked_context(table, attribute, context); });
    return again;
}

// `check`: checked_context or checked_key.
bool is_same_expression(Relation table, AttrNumber attribute, decltype(checked_key)* check,
                        const char* wanted, const char* stored) {
    if (wanted == nullptr || stored == nullptr) {
        return wanted == stored;
    }
    return strcmp(check(table, attribute, wanted), stored_again(table, attribute, stored)) == 0;
}

[[noreturn]] void raise_other(Oid relation, const Wanted& wanted, const char* what,
                              const char* stored) {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("column \"%s\" of \"%s\" is registered with another %s",
                           wanted.encrypted, get_rel_name(relation), what),
                    errdetail("It is registered with %s.", stored),
                    errhint("Call it again with that one. To begin anew with another, drop the "
                            "trigger that kms.encrypt_column made; and then the column, where "
                            "every value is in column \"%s\" still.",
                            wanted.plain)));
    pg_unreachable();
}

void require_same_registration(Relation table, const Wanted& wanted,
                               const RegisteredColumn& column) {
    const Oid relation = RelationGetRelid(table);
    const AttrNumber attribute = get_attnum(relation, wanted.encrypted);
    if (!std::ranges::equal(column.key_identifier, wanted.key_identifier) ||
        !is_same_expression(table, attribute, checked_key, wanted.key, column.key_expression)) {
        raise_other(relation, wanted, "key", psprintf("the key %s", shown_key(column.now())));
    }
    if (!is_same_expression(table, attribute, checked_context, wanted.context,
                            column.context_expression)) {
        raise_other(relation, wanted, "context expression",
                    shown_context(column.context_expression));
    }
}

const RegisteredColumn* registration_of(Oid relation, const Wanted& wanted) {
    return find_registered_column(relation, get_attnum(relation, wanted.encrypted));
}

// The plaintext goes when the columns are switched.
void require_not_over_plaintext(Oid relation, AttrNumber plain, const char* context) {
    const Relation table = relation_open(relation, AccessShareLock);
    if (is_over(table, context, plain)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                        errmsg("the registered expression is over the plaintext column \"%s\"",
                               get_attname(relation, plain, false)),
                        errhint("Take columns that stay.")));
    }
    relation_close(table, NoLock);
}

const char* stored_key(Oid relation, const char* expression) {
    const Relation table = relation_open(relation, AccessShareLock);
    const char* stored = checked_key(table, InvalidAttrNumber, expression);
    relation_close(table, NoLock);
    return stored;
}

// All of it, or none, in the first transaction. What is registered is taken as it is before code of
// the table's owner runs again; nullptr where nothing is, which require_key() tells.
void prepare_column(Rewriting& run, const NewColumn& column, const Wanted& wanted) {
    run.target = find_new_column(column);
    if (run.target == InvalidAttrNumber) {
        if (wanted.key != nullptr) {
            const char* stored = stored_key(column.relation, wanted.key);
            require_not_over_plaintext(column.relation, run.source, stored);
            require_some_key(run.action, column.relation, wanted.plain, stored);
        }
        run.target = add_new_column(column);
        register_encrypted(column.relation, wanted);
        run.began_with = registration_of(column.relation, wanted);
        return;
    }
    run.began_with = registration_of(column.relation, wanted);
    if (run.began_with != nullptr) {
        const Relation table = relation_open(column.relation, AccessShareLock);
        require_same_registration(table, wanted, *run.began_with);
        relation_close(table, NoLock);
    }
}

// nullptr where nothing is registered, which require_key() tells.
void require_usable_expressions(const Rewriting& run) {
    if (run.began_with != nullptr) {
        for (const char* expression :
             {run.began_with->context_expression, run.began_with->key_expression}) {
            require_not_over_plaintext(run.relation, run.source, expression);
            require_context_at_hand(run.relation, expression);
        }
    }
}

Wanted read_wanted(FunctionCallInfo fcinfo, Oid relation, AttrNumber plain) {
    const char* name = get_attname(relation, plain, false);
    return {
        .plain = name,
        .encrypted = new_column_name(fcinfo, 4, "encrypted_column", psprintf("%s_encrypted", name)),
        .key_identifier = key_argument(fcinfo, 2, "key_identifier"),
        .key = text_argument(fcinfo, 9),
        .context = text_argument(fcinfo, 3)};
}

NewColumn column_of(Oid relation, const Wanted& wanted, bool published) {
    return {.relation = relation,
            .source = wanted.plain,
            .name = wanted.encrypted,
            .type = BYTEAOID,
            .typmod = -1,
            .opens = false,
            .published = published,
            .opens_as = {}};
}

Pair pair_of(Oid relation, const Wanted& wanted) {
    return {.relation = relation,
            .opens = false,
            .plain = wanted.plain,
            .encrypted = wanted.encrypted,
            .sealed_as = {wanted.key_identifier, wanted.key, wanted.context},
            .tables = {}};
}

}  // namespace

KMS_FUNCTION(kms_encrypt_column) {
    Rewriting run = {};
    run.procedure = procedure;
    run.action = "encrypt a value with";
    run.has_done = "encrypted";
    read_run_arguments(fcinfo, run, 5);
    run.own_trigger = in_step_function();
    const bool published = required_bool(fcinfo, 8, "published");
    const Wanted wanted = read_wanted(fcinfo, run.relation, run.source);
    require_one_key("kms.encrypt_column()", wanted.key_identifier, wanted.key);
    require_non_atomic(fcinfo, procedure);
    begin_pair(run, wanted.plain);
    require_unregistered(run.relation, run.source);
    require_not_made(run.relation, run.source);
    tell_of_switch(pair_of(run.relation, wanted));
    require_usable_key(run.action, wanted.key_identifier);
    require_named(run.relation, run.source, wanted.plain);
    prepare_column(run, column_of(run.relation, wanted, published), wanted);
    require_fires_last(run.relation);
    require_usable_expressions(run);
    require_rewritable(run);
    require_named(run.relation, run.source, wanted.plain);
    require_named(run.relation, run.target, wanted.encrypted);
    rewrite_column(run);
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
