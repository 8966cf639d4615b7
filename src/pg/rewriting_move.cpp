// A column goes to another key, or its values to another context: the registration says where to
// and where from as soon as the run begins, and so whoever goes on with it knows both.
#include <algorithm>

#include "pg/context_expression.hpp"
#include "pg/owner.hpp"
#include "pg/registry.hpp"
#include "pg/rewriting.hpp"

namespace kms::pg {
namespace {

bool is_same(const SealedAs& one, const SealedAs& other) {
    return std::ranges::equal(one.key_identifier, other.key_identifier) &&
           std::string_view(one.context_expression != nullptr ? one.context_expression : "") ==
               (other.context_expression != nullptr ? other.context_expression : "");
}

// As it is registered; nullptr for the empty one.
const char* checked(const Rewriting& run, const char* context) {
    if (context[0] == '\0') {
        return nullptr;
    }
    const Relation table = relation_open(run.relation, AccessShareLock);
    const char* expression = checked_context(table, run.target, context);
    relation_close(table, NoLock);
    return expression;
}

SealedAs wanted_by(const Rewriting& run, const SealedAs& now) {
    return {!run.move.key_identifier.empty() ? run.move.key_identifier : now.key_identifier,
            run.move.context != nullptr ? checked(run, run.move.context) : now.context_expression};
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

// What values of before are sealed as. A move that is over may have left some behind.
SealedAs left_by(const Rewriting& run, const RegisteredColumn& column, const SealedAs& wanted) {
    if (is_same(wanted, column.now())) {
        return column.was.key_identifier.empty() ? column.now() : column.was;
    }
    if (column.is_moving && !is_same(wanted, column.was)) {
        raise_other_move(run);
    }
    return column.now();
}

Datum context_datum(const char* context) {
    return context != nullptr ? text_datum(context) : Datum{0};
}

void write_registration(const RegisteredColumn& column, const SealedAs& now, const SealedAs& was,
                        bool is_moving) {
    Oid types[] = {NAMEOID, NAMEOID, NAMEOID, BYTEAOID, TEXTOID, BYTEAOID, TEXTOID, BOOLOID};
    Datum values[] = {name_datum(column.schema_name),        name_datum(column.relation_name),
                      name_datum(column.column_name),        bytes_datum(now.key_identifier),
                      context_datum(now.context_expression), bytes_datum(was.key_identifier),
                      context_datum(was.context_expression), BoolGetDatum(is_moving)};
    const char nulls[] = {' ',
                          ' ',
                          ' ',
                          ' ',
                          now.context_expression != nullptr ? ' ' : 'n',
                          ' ',
                          was.context_expression != nullptr ? ' ' : 'n',
                          ' ',
                          '\0'};
    (void)change_as_owner({.table = registered_column_table(),
                           .statement = "UPDATE kms.registered_column SET key_identifier = $4,"
                                        " context_expression = $5, was_key_identifier = $6,"
                                        " was_context_expression = $7, is_moving = $8"
                                        " WHERE relation_schema = $1 AND relation_name = $2"
                                        " AND column_name = $3",
                           .parameters = lengthof(types),
                           .types = types,
                           .values = values,
                           .nulls = nulls});
}

const char* text_argument(FunctionCallInfo fcinfo, int index) {
    return PG_ARGISNULL(index) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(index));
}

}  // namespace

Move move_arguments(FunctionCallInfo fcinfo, int first) {
    return {.key_identifier =
                PG_ARGISNULL(first) ? ByteView{} : required_identifier(fcinfo, first, "new_key"),
            .context = text_argument(fcinfo, first + 1),
            .was_context = text_argument(fcinfo, first + 2)};
}

void begin_move(const Rewriting& run) {
    const RegisteredColumn& column = registration_of(run);
    if (!run.move.is_wanted()) {
        return;
    }
    const SealedAs wanted = wanted_by(run, column.now());
    SealedAs was = left_by(run, column, wanted);
    if (run.move.was_context != nullptr) {
        was.context_expression = checked(run, run.move.was_context);
    }
    write_registration(column, wanted, was, !is_same(wanted, was));
}

void end_move(const Rewriting& run) {
    if (run.is_between_columns()) {
        return;
    }
    const RegisteredColumn& column = registration_of(run);
    if (column.is_moving && run.left == 0 && run.bad_in_pass.count == 0) {
        write_registration(column, column.now(), column.was, false);
    }
}

}  // namespace kms::pg
