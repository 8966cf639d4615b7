// decrypt_column: the way back from encrypt_column. A new column that holds the values of a
// registered one in plaintext; from the start a trigger keeps both in step, and what was there
// before is filled in as reencrypt does it.
#include "pg/columns/column_state.hpp"
#include "pg/columns/in_step_trigger.hpp"
#include "pg/columns/registry.hpp"
#include "pg/columns/sealed_contexts.hpp"
#include "pg/pairs/new_column.hpp"
#include "pg/rewriting/attempt.hpp"
#include "pg/rewriting/rewriting.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/tables/table_column.hpp"

namespace kms::pg {
namespace {

constexpr const char* procedure = "kms.decrypt_column";
constexpr std::string_view suffix = "_encrypted";

// "ssn" for "ssn_encrypted", and "ssn_plain" for "ssn".
const char* plain_name(const char* encrypted) {
    const std::string_view name = encrypted;
    return name.size() > suffix.size() && name.ends_with(suffix)
               ? pnstrdup(name.data(), name.size() - suffix.size())
               : psprintf("%s_plain", encrypted);
}

// A domain's default or NOT NULL would be there before the values are.
Oid plain_type(FunctionCallInfo fcinfo, std::int32_t& typmod) {
    required(fcinfo, 2, "plain_type");
    Oid type = InvalidOid;
    parse_type(text_to_cstring(PG_GETARG_TEXT_PP(2)), &type, &typmod);
    if (get_typtype(type) == TYPTYPE_DOMAIN) {
        ereport(
            ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("%s takes no domain, and %s is one", procedure, format_type_be(type)),
             errhint("Take its base type, %s, and ALTER TABLE ... ALTER COLUMN ... TYPE after the "
                     "switch.",
                     format_type_be(getBaseType(type)))));
    }
    return type;
}

// The trigger would open what others write under a key that their row names.
void refuse_rows_keys(const RegisteredColumn& column) {
    if (column.key_expression != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("%s decrypts no column whose rows name their keys", procedure),
                        errdetail("%s is registered with key %s.", full_name(column),
                                  shown_key(column.now())),
                        errhint("Add a column, and fill it with kms.decode_with() or "
                                "kms.decode_with_text() of each row's key.")));
    }
}

const RegisteredColumn& require_registered(Oid relation, AttrNumber encrypted) {
    const RegisteredColumn* column = find_registered_column(relation, encrypted);
    if (column == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is not registered",
                               get_attname(relation, encrypted, false), get_rel_name(relation)),
                        errhint("Say which key it has with kms.register_column().")));
    }
    require_not_moving(*column);
    refuse_rows_keys(*column);
    return *column;
}

// Empty where there is none.
ByteView first_value_of(Oid oid, const char* column) {
    const Relation table = table_open(oid, NoLock);
    ByteView value;
    if (RELKIND_HAS_STORAGE(table->rd_rel->relkind)) {
        const AttrNumber attribute = attribute_named(table, column);
        require_bytea(table, attribute);
        TupleTableSlot* row = table_slot_create(table, nullptr);
        TableScanDesc scan = begin_scan(table, GetActiveSnapshot());
        while (value.empty() && table_scan_getnextslot(scan, ForwardScanDirection, row)) {
            bool is_null = false;
            const Datum datum = slot_getattr(row, attribute, &is_null);
            value = is_null ? ByteView{} : bytes_of_datum(datumCopy(datum, false, -1));
        }
        table_endscan(scan);
        ExecDropSingleTupleTableSlot(row);
    }
    table_close(table, NoLock);
    return value;
}

ByteView any_value(const Rewriting& run) {
    const char* column = get_attname(run.relation, run.source, false);
    const List* tables = find_all_inheritors(run.relation, AccessShareLock, nullptr);
    ByteView value;
    for (int i = 0; i < list_length(tables) && value.empty(); ++i) {
        value = first_value_of(list_nth_oid(tables, i), column);
    }
    return value;
}

bool opens_one(const Rewriting& run, const RegisteredColumn& column) {
    varlena* plaintext = nullptr;
    const Call call = {run.action, 0, any_value(run), {}, column.key_identifier};
    const Failure failure = open(call, &plaintext);
    if (failure) {
        raise_unless_about_the_value(failure);
        return false;
    }
    wipe(bytes_in(plaintext));
    return true;
}

void require_opening_of_own(const Rewriting& run, const RegisteredColumn& column) {
    Call call = {run.action, 0, bytes_of("probe"), {}, column.key_identifier};
    varlena* sealed = nullptr;
    if (const Failure failure = seal(call, &sealed)) {
        raise(failure);
    }
    call.data = bytes_in(sealed);
    varlena* opened = nullptr;
    if (const Failure failure = open(call, &opened)) {
        raise(failure);
    }
}

// Before the trigger is there: whoever may not open the values leaves none behind that opens them
// as soon as somebody writes who may. There may be no value that tells: what is no ciphertext, say,
// is refused before a key is asked for.
void require_opening(const Rewriting& run, const RegisteredColumn& column) {
    if (!opens_one(run, column)) {
        require_opening_of_own(run, column);
    }
}

// An earlier call's trigger opens as that call found the column.
void require_same_opening(const NewColumn& column, const RegisteredColumn& registered) {
    const Relation table = relation_open(column.relation, AccessShareLock);
    require_opens_as(find_in_step_trigger(table, column.source).opens_as, registered);
    relation_close(table, NoLock);
}

AttrNumber prepare_column(const NewColumn& column, const RegisteredColumn& registered) {
    const AttrNumber found = find_new_column(column);
    if (found == InvalidAttrNumber) {
        return add_new_column(column);
    }
    require_same_opening(column, registered);
    Oid type = InvalidOid;
    std::int32_t typmod = -1;
    Oid collation = InvalidOid;
    get_atttypetypmodcoll(column.relation, found, &type, &typmod, &collation);
    if (type != column.type || typmod != column.typmod) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is of type %s", column.name,
                               get_rel_name(column.relation), type_name(type, typmod)),
                        errhint("Call it again with that one. To begin anew with another, drop the "
                                "trigger that kms.decrypt_column made; and then the column, where "
                                "every value is in column \"%s\" still.",
                                column.source)));
    }
    return found;
}

NewColumn read_wanted(FunctionCallInfo fcinfo, Oid relation, AttrNumber encrypted) {
    const char* name = get_attname(relation, encrypted, false);
    std::int32_t typmod = -1;
    const Oid type = plain_type(fcinfo, typmod);
    return {.relation = relation,
            .source = name,
            .name = new_column_name(fcinfo, 3, "plain_column", plain_name(name)),
            .type = type,
            .typmod = typmod,
            .opens = true,
            .published = required_bool(fcinfo, 7, "published"),
            .opens_as = {}};
}

}  // namespace

KMS_FUNCTION(kms_decrypt_column) {
    Rewriting run = {};
    run.procedure = procedure;
    run.action = "decrypt a value with";
    run.has_done = "decrypted";
    run.opens = true;
    read_run_arguments(fcinfo, run, 4);
    run.was_key = key_argument(fcinfo, 8, "was_key");
    run.own_trigger = in_step_function();
    NewColumn wanted = read_wanted(fcinfo, run.relation, run.source);
    require_non_atomic(fcinfo, procedure);
    begin_pair(run, wanted.source);
    const RegisteredColumn& column = require_registered(run.relation, run.source);
    run.began_with = &column;
    require_said_key(run, column.now());
    require_known_key(run, column.now());
    require_not_being_encrypted(run.relation, wanted.source);
    require_context_at_hand(run.relation, column.context_expression);
    tell_of_switch({.relation = run.relation,
                    .opens = true,
                    .plain = wanted.name,
                    .encrypted = wanted.source,
                    .sealed_as = column.now(),
                    .tables = {}});
    require_opening(run, column);
    wanted.opens_as = opens_as(column.now());
    run.target = prepare_column(wanted, column);
    require_fires_last(run.relation);
    require_rewritable(run);
    require_named(run.relation, run.source, wanted.source);
    require_named(run.relation, run.target, wanted.name);
    rewrite_column(run);
    SPI_finish();
    PG_RETURN_VOID();
}

}  // namespace kms::pg
