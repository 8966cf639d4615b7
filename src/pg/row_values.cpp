#include "pg/row_values.hpp"

#include "pg/context_expression.hpp"
#include "pg/text_settings.hpp"

namespace kms::pg {
namespace {

Node* column_value(Relation table, AttrNumber attribute) {
    const auto* column = TupleDescAttr(RelationGetDescr(table), attribute - 1);
    return reinterpret_cast<Node*>(
        makeVar(1, attribute, column->atttypid, column->atttypmod, column->attcollation, 0));
}

RowValues prepare(Node* value, Expr* context) {
    Expr* bytes = expression_planner(reinterpret_cast<Expr*>(as_bytes(value)));
    return {.text_depends = contain_mutable_functions(reinterpret_cast<Node*>(bytes)),
            .bytes = ExecInitExpr(bytes, nullptr),
            .context = ExecInitExpr(context, nullptr),
            .row = CreateStandaloneExprContext()};
}

std::optional<ByteView> evaluate(const RowValues& values, ExprState* expression,
                                 TupleTableSlot* slot) {
    values.row->ecxt_scantuple = slot;
    bool is_null = false;
    const Datum value = ExecEvalExpr(expression, values.row, &is_null);
    return is_null ? std::nullopt : std::optional(bytes_of_datum(value));
}

}  // namespace

Node* as_bytes(Node* value) {
    const Oid type = exprType(value);
    const Oid target = getBaseType(type) == BYTEAOID ? BYTEAOID : TEXTOID;
    return coerce_to_target_type(nullptr, value, type, target, -1, COERCION_EXPLICIT,
                                 COERCE_EXPLICIT_CAST, -1);
}

RowValues prepare_row_values(Relation table, AttrNumber column, const char* context_expression) {
    return prepare(column_value(table, column), context_expression != nullptr
                                                    ? stored_context(table, context_expression)
                                                    : nullptr);
}

RowValues prepare_constant(Node* value) {
    return prepare(value, nullptr);
}

std::optional<ByteView> bytes_of_row(const RowValues& values, TupleTableSlot* slot) {
    if (!values.text_depends) {
        return evaluate(values, values.bytes, slot);
    }
    const int level = fix_text_settings();
    const auto bytes = evaluate(values, values.bytes, slot);
    AtEOXact_GUC(false, level);
    return bytes;
}

std::optional<ByteView> context_of_row(const RowValues& values, TupleTableSlot* slot) {
    const auto context =
        values.context != nullptr ? evaluate(values, values.context, slot) : ByteView{};
    if (context) {
        check_context(*context);
    }
    return context;
}

}  // namespace kms::pg
