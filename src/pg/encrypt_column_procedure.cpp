// encrypt_column: a new column that holds the values of another, encrypted. From the start a
// trigger keeps both in step; what was there before is filled in as reencrypt does it.
#include <algorithm>

#include "pg/context_expression.hpp"
#include "pg/in_step.hpp"
#include "pg/owner.hpp"
#include "pg/registry.hpp"

namespace kms::pg {
namespace {

constexpr const char* procedure = "kms.encrypt_column";

struct Wanted {
    const char* plain;
    const char* encrypted;
    ByteView key_identifier;
    Datum context;  // text
    bool has_context;
};

const char* encrypted_name(FunctionCallInfo fcinfo, const char* plain) {
    const char* name =
        PG_ARGISNULL(3) ? psprintf("%s_encrypted", plain) : NameStr(*PG_GETARG_NAME(3));
    if (strlen(name) >= NAMEDATALEN) {
        ereport(ERROR,
                (errcode(ERRCODE_NAME_TOO_LONG), errmsg("column name \"%s\" is too long", name),
                 errhint("Say another one with encrypted_column => …")));
    }
    return pstrdup(name);
}

void run_command(const char* command) {
    if (SPI_execute(command, false, 0) < 0) {
        elog(ERROR, "could not run %s", command);
    }
}

// Behind all triggers of the user's, which may change the plaintext yet.
const char* trigger_name(const Wanted& wanted) {
    return quote_identifier(psprintf("zzz_kms_%.*s", NAMEDATALEN - 9, wanted.encrypted));
}

void register_encrypted(Oid relation, const Wanted& wanted) {
    Oid types[] = {OIDOID, NAMEOID, BYTEAOID, TEXTOID};
    Datum values[] = {ObjectIdGetDatum(relation), CStringGetDatum(wanted.encrypted),
                      bytes_datum(wanted.key_identifier), wanted.context};
    const char nulls[] = {' ', ' ', ' ', wanted.has_context ? ' ' : 'n', '\0'};
    if (SPI_execute_with_args("SELECT kms.register_column($1, $2, $3, $4)", lengthof(types), types,
                              values, nulls, false, 0) < 0) {
        elog(ERROR, "could not register the column");
    }
}

// All of it, or none, in the first transaction.
void add_column(Oid relation, const char* table, const Wanted& wanted) {
    const char* column = quote_identifier(wanted.encrypted);
    const char* trigger = trigger_name(wanted);
    run_command(psprintf("ALTER TABLE %s ADD COLUMN %s pg_catalog.bytea", table, column));
    run_command(psprintf(
        "CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW "
        "EXECUTE FUNCTION kms.keep_in_step(%s, %s)",
        trigger, table, quote_literal_cstr(wanted.plain), quote_literal_cstr(wanted.encrypted)));
    run_command(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, trigger));
    register_encrypted(relation, wanted);
}

// An earlier call has made it.
void require_same(Oid relation, const InStepTrigger& trigger, const Wanted& wanted) {
    const RegisteredColumn* column =
        find_registered_column(relation, get_attnum(relation, wanted.encrypted));
    if (trigger.name == nullptr || strcmp(trigger.encrypted, wanted.encrypted) != 0) {
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                        errmsg("column \"%s\" of \"%s\" exists already", wanted.encrypted,
                               get_rel_name(relation)),
                        errhint("Say another one with encrypted_column => …")));
    }
    if (column != nullptr && !std::ranges::equal(column->key_identifier, wanted.key_identifier)) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is registered with another key",
                               wanted.encrypted, get_rel_name(relation))));
    }
}

void prepare_column(Oid relation, const Wanted& wanted) {
    const Relation table = relation_open(relation, AccessShareLock);
    const char* name = quoted_name(table);
    const InStepTrigger trigger = find_in_step_trigger(table, wanted.plain);
    relation_close(table, NoLock);
    if (get_attnum(relation, wanted.encrypted) != InvalidAttrNumber) {
        require_same(relation, trigger, wanted);
        return;
    }
    if (trigger.name != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is being encrypted into column \"%s\"",
                               wanted.plain, get_rel_name(relation), trigger.encrypted)));
    }
    add_column(relation, name, wanted);
}

// The plaintext goes when the columns are switched; what is generated comes after the trigger.
void require_context_at_hand(Oid relation, AttrNumber plain, AttrNumber encrypted) {
    const RegisteredColumn* column = find_registered_column(relation, encrypted);
    if (column == nullptr || column->context_expression == nullptr) {
        return;
    }
    const Relation table = relation_open(relation, AccessShareLock);
    Bitmapset* columns = nullptr;
    run_owners_code(table->rd_rel->relowner, [&] {
        Expr* context = stored_context(table, column->context_expression);
        pull_varattnos(reinterpret_cast<Node*>(context), 1, &columns);
    });
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const int number = member + FirstLowInvalidHeapAttributeNumber;
        const auto* over = TupleDescAttr(RelationGetDescr(table), number - 1);
        if (number == plain || over->attgenerated != '\0') {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("the context expression is over %s column \"%s\"",
                                   number == plain ? "the plaintext" : "the generated",
                                   NameStr(over->attname))));
        }
    }
    relation_close(table, NoLock);
}

void require_not_generated(Oid relation, AttrNumber plain) {
    const Relation table = relation_open(relation, AccessShareLock);
    const auto* column = TupleDescAttr(RelationGetDescr(table), plain - 1);
    if (column->attgenerated != '\0') {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("column \"%s\" is a generated column", NameStr(column->attname))));
    }
    relation_close(table, NoLock);
}

Wanted read_wanted(FunctionCallInfo fcinfo, Oid relation, AttrNumber plain) {
    const char* name = get_attname(relation, plain, false);
    return {.plain = name,
            .encrypted = encrypted_name(fcinfo, name),
            .key_identifier = required_identifier(fcinfo, 2),
            .context = PG_ARGISNULL(4) ? Datum{0} : PG_GETARG_DATUM(4),
            .has_context = !PG_ARGISNULL(4)};
}

}  // namespace

KMS_FUNCTION(kms_encrypt_column) {
    Rewriting run = {};
    run.procedure = procedure;
    run.relation = relation_argument(fcinfo, 0);
    run.source = column_argument(fcinfo, 1, run.relation);
    run.batch = batch_argument(fcinfo, 5);
    run.pause_ms = pause_argument(fcinfo, 6);
    run.triggers = triggers_argument(fcinfo, 7);
    run.own_trigger = in_step_function();
    const Wanted wanted = read_wanted(fcinfo, run.relation, run.source);
    require_non_atomic(fcinfo, procedure);
    require_own_table(procedure, run.relation);
    require_not_generated(run.relation, run.source);
    prepare_column(run.relation, wanted);
    run.target = get_attnum(run.relation, wanted.encrypted);
    require_context_at_hand(run.relation, run.source, run.target);
    require_rewritable(run);
    (void)current_key(run);
    rewrite_column(run);
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
