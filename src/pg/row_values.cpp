#include "pg/row_values.hpp"

#include <algorithm>

#include "pg/context_expression.hpp"
#include "pg/text_settings.hpp"

namespace kms::pg {
namespace {

Node* column_value(Relation table, AttrNumber attribute) {
    const auto* column = TupleDescAttr(RelationGetDescr(table), attribute - 1);
    return reinterpret_cast<Node*>(
        makeVar(1, attribute, column->atttypid, column->atttypmod, column->attcollation, 0));
}

// Of all other types it may depend on any setting: a function's volatility does not say, since
// those of floating-point numbers are immutable.
TextDependsOn text_depends_on(Oid type) {
    constexpr Oid nothing[] = {BYTEAOID, TEXTOID, VARCHAROID, BPCHAROID,  NAMEOID, BOOLOID, INT2OID,
                               INT4OID,  INT8OID, UUIDOID,    NUMERICOID, JSONOID, JSONBOID};
    constexpr Oid variables[] = {DATEOID,        TIMEOID,     TIMETZOID, TIMESTAMPOID,
                                 TIMESTAMPTZOID, INTERVALOID, FLOAT4OID, FLOAT8OID};
    const Oid base = getBaseType(type);
    if (std::ranges::count(nothing, base) != 0) {
        return TextDependsOn::nothing;
    }
    return base == type && std::ranges::count(variables, base) != 0 ? TextDependsOn::variables
                                                                    : TextDependsOn::settings;
}

// A constant becomes text as it is planned.
Expr* planned_bytes(Node* value) {
    const int level = fix_text_settings();
    Expr* bytes = expression_planner(reinterpret_cast<Expr*>(as_bytes(value)));
    AtEOXact_GUC(false, level);
    return bytes;
}

RowValues prepare(Node* value, Expr* context, Expr* key) {
    Expr* bytes = planned_bytes(value);
    return {.depends_on = text_depends_on(exprType(value)),
            .bytes = ExecInitExpr(bytes, nullptr),
            .context = ExecInitExpr(context, nullptr),
            .key = ExecInitExpr(key, nullptr),
            .row = CreateStandaloneExprContext()};
}

Expr* stored_or_none(Relation table, const char* expression) {
    return expression != nullptr ? stored_context(table, expression) : nullptr;
}

Node* as_dumped(Node* value) {
    auto* text = make_node<CoerceViaIO>(T_CoerceViaIO);
    text->arg = reinterpret_cast<Expr*>(value);
    text->resulttype = TEXTOID;
    text->resultcollid = DEFAULT_COLLATION_OID;
    text->coerceformat = COERCE_EXPLICIT_CAST;
    text->location = -1;
    return reinterpret_cast<Node*>(text);
}

// Equal numbers are one text, whatever digits they were written with.
Node* without_trailing_zeros(Node* number) {
    return reinterpret_cast<Node*>(makeFuncExpr(F_TRIM_SCALE, NUMERICOID, list_make1(number),
                                                InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
}

std::optional<ByteView> evaluate(const RowValues& values, ExprState* expression,
                                 TupleTableSlot* slot) {
    values.row->ecxt_scantuple = slot;
    bool is_null = false;
    const Datum value = ExecEvalExpr(expression, values.row, &is_null);
    return is_null ? std::nullopt : std::optional(bytes_of_datum(value));
}

}  // namespace

// A cast of somebody's may keep less than all, and that of a blank-padded string without a length
// keeps no blanks.
bool is_sealed_as_dumped(Node* value) {
    Oid function = InvalidOid;
    std::int32_t modifier = exprTypmod(value);
    const Oid type = getBaseTypeAndTypmod(exprType(value), &modifier);
    if (type == BPCHAROID) {
        return modifier < 0;
    }
    return find_coercion_pathway(TEXTOID, type, COERCION_EXPLICIT, &function) ==
               COERCION_PATH_FUNC &&
           function >= FirstNormalObjectId;
}

Node* as_bytes(Node* value) {
    if (getBaseType(exprType(value)) == NUMERICOID) {
        value = without_trailing_zeros(value);
    }
    const Oid type = exprType(value);
    const Oid target = getBaseType(type) == BYTEAOID ? BYTEAOID : TEXTOID;
    if (target == TEXTOID && is_sealed_as_dumped(value)) {
        return as_dumped(value);
    }
    return coerce_to_target_type(nullptr, value, type, target, -1, COERCION_EXPLICIT,
                                 COERCE_EXPLICIT_CAST, -1);
}

RowValues prepare_row_values(Relation table, AttrNumber column, const RowExpressions& expressions) {
    return prepare(column_value(table, column), stored_or_none(table, expressions.context),
                   stored_or_none(table, expressions.key));
}

RowValues prepare_values(Oid type, std::int32_t typmod) {
    auto* value = make_node<CaseTestExpr>(T_CaseTestExpr);
    value->typeId = type;
    value->typeMod = typmod;
    value->collation = get_typcollation(type);
    return prepare(reinterpret_cast<Node*>(value), nullptr, nullptr);
}

ByteView bytes_of_value(const RowValues& values, Datum value) {
    values.row->caseValue_datum = value;
    values.row->caseValue_isNull = false;
    return evaluate(values, values.bytes, nullptr).value_or(ByteView{});
}

std::optional<ByteView> written_number(Oid type, Datum value) {
    if (getBaseType(type) != NUMERICOID) {
        return std::nullopt;
    }
    return bytes_of(DatumGetCString(DirectFunctionCall1(numeric_out, value)));
}

ByteView lasting_bytes_of_value(const RowValues& values, Datum value) {
    return with_lasting_text(values.depends_on, [&] { return bytes_of_value(values, value); });
}

RowValues prepare_constant(Node* value) {
    return prepare(value, nullptr, nullptr);
}

std::optional<ByteView> bytes_of_row(const RowValues& values, TupleTableSlot* slot) {
    return with_lasting_text(values.depends_on,
                             [&] { return evaluate(values, values.bytes, slot); });
}

std::optional<ByteView> context_of_row(const RowValues& values, TupleTableSlot* slot) {
    const auto context =
        values.context != nullptr ? evaluate(values, values.context, slot) : ByteView{};
    if (context) {
        check_context(*context);
    }
    return context;
}

std::optional<ByteView> key_of_row(const RowValues& values, TupleTableSlot* slot, ByteView of_all) {
    return values.key != nullptr ? evaluate(values, values.key, slot) : of_all;
}

}  // namespace kms::pg
