#include "pg/row_values.hpp"

#include "pg/context_expression.hpp"

namespace kms::pg {
namespace {

Expr* bytes_expression(Relation table, AttrNumber attribute) {
    const auto* column = TupleDescAttr(RelationGetDescr(table), attribute - 1);
    auto* value = reinterpret_cast<Node*>(
        makeVar(1, attribute, column->atttypid, column->atttypmod, column->attcollation, 0));
    if (getBaseType(column->atttypid) != BYTEAOID) {
        value = coerce_to_target_type(nullptr, value, column->atttypid, TEXTOID, -1,
                                      COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
    }
    return expression_planner(reinterpret_cast<Expr*>(value));
}

std::optional<ByteView> evaluate(const RowValues& values, ExprState* expression,
                                 TupleTableSlot* slot) {
    values.row->ecxt_scantuple = slot;
    bool is_null = false;
    const Datum value = ExecEvalExpr(expression, values.row, &is_null);
    return is_null ? std::nullopt : std::optional(bytes_of_datum(value));
}

}  // namespace

RowValues prepare_row_values(Relation table, AttrNumber column, const char* context_expression) {
    Expr* bytes = bytes_expression(table, column);
    Expr* context =
        context_expression != nullptr ? stored_context(table, context_expression) : nullptr;
    return {.text_depends = contain_mutable_functions(reinterpret_cast<Node*>(bytes)),
            .bytes = ExecInitExpr(bytes, nullptr),
            .context = ExecInitExpr(context, nullptr),
            .row = CreateStandaloneExprContext()};
}

std::optional<ByteView> bytes_of_row(const RowValues& values, TupleTableSlot* slot) {
    return evaluate(values, values.bytes, slot);
}

std::optional<ByteView> context_of_row(const RowValues& values, TupleTableSlot* slot) {
    return values.context != nullptr ? evaluate(values, values.context, slot) : ByteView{};
}

}  // namespace kms::pg
