#include "pg/values/value_bytes.hpp"

#include <algorithm>

namespace kms::pg {
namespace {

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

ValueBytes prepare_expression(Node* value) {
    return {.depends_on = text_depends_on(exprType(value)),
            .bytes = ExecInitExpr(planned_bytes(value), nullptr),
            .row = CreateStandaloneExprContext()};
}

std::optional<ByteView> evaluate(ExprState* expression, ExprContext* row, TupleTableSlot* slot) {
    row->ecxt_scantuple = slot;
    bool is_null = false;
    const Datum value = ExecEvalExpr(expression, row, &is_null);
    return is_null ? std::nullopt : std::optional(bytes_of_datum(value));
}

ValueBytes prepare_values(Oid type, std::int32_t typmod) {
    auto* value = make_node<CaseTestExpr>(T_CaseTestExpr);
    value->typeId = type;
    value->typeMod = typmod;
    value->collation = get_typcollation(type);
    return prepare_expression(reinterpret_cast<Node*>(value));
}

ByteView bytes_of_value(const ValueBytes& values, Datum value) {
    values.row->caseValue_datum = value;
    values.row->caseValue_isNull = false;
    return evaluate(values.bytes, values.row, nullptr).value_or(ByteView{});
}

std::optional<ByteView> written_number(Oid type, Datum value) {
    if (getBaseType(type) != NUMERICOID) {
        return std::nullopt;
    }
    return bytes_of(DatumGetCString(DirectFunctionCall1(numeric_out, value)));
}

ByteView lasting_bytes_of_value(const ValueBytes& values, Datum value) {
    return with_lasting_text(values.depends_on, [&] { return bytes_of_value(values, value); });
}

std::optional<ByteView> bytes_of_row(const ValueBytes& values, TupleTableSlot* slot) {
    return with_lasting_text(values.depends_on,
                             [&] { return evaluate(values.bytes, values.row, slot); });
}

}  // namespace kms::pg
