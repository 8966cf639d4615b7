#include "pg/contexts/row_values.hpp"

#include "pg/contexts/context_expression.hpp"

namespace kms::pg {
namespace {

Node* column_value(Relation table, AttrNumber attribute) {
    const auto* column = TupleDescAttr(RelationGetDescr(table), attribute - 1);
    return reinterpret_cast<Node*>(
        makeVar(1, attribute, column->atttypid, column->atttypmod, column->attcollation, 0));
}

ExprState* prepare_stored(Relation table, const char* expression) {
    return expression != nullptr ? ExecInitExpr(stored_context(table, expression), nullptr)
                                 : nullptr;
}

}  // namespace

RowValues prepare_row_values(Relation table, AttrNumber column, const RowExpressions& expressions) {
    return {.value = prepare_expression(column_value(table, column)),
            .context = prepare_stored(table, expressions.context),
            .key = prepare_stored(table, expressions.key)};
}

std::optional<ByteView> context_of_row(const RowValues& values, TupleTableSlot* slot) {
    const auto context =
        values.context != nullptr ? evaluate(values.context, values.value.row, slot) : ByteView{};
    if (context) {
        check_context(*context);
    }
    return context;
}

std::optional<ByteView> key_of_row(const RowValues& values, TupleTableSlot* slot, ByteView of_all) {
    return values.key != nullptr ? evaluate(values.key, values.value.row, slot) : of_all;
}

}  // namespace kms::pg
