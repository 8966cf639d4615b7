#include "pg/context_expression.hpp"

#include "pg/owner.hpp"

namespace kms::pg {
namespace {

// An error's position is one in the expression, not in the query that brought it.
void point_into_expression(void* argument) {
    const int position = geterrposition();
    if (position > 0) {
        errposition(0);
        internalerrposition(position);
        internalerrquery(static_cast<const char*>(argument));
    }
    errcontext("context expression \"%s\"", static_cast<const char*>(argument));
}

template <typename Act>
auto about_expression(const char* text, Act&& act) {
    ErrorContextCallback callback = {error_context_stack, point_into_expression,
                                     const_cast<char*>(text)};
    error_context_stack = &callback;
    const auto result = act();
    error_context_stack = callback.previous;
    return result;
}

bool is_star(const Node* node) {
    return IsA(node, ColumnRef) &&
           IsA(llast(reinterpret_cast<const ColumnRef*>(node)->fields), A_Star);
}

bool is_one_expression(const SelectStmt* query) {
    const bool plain = query->distinctClause == NIL && query->intoClause == nullptr &&
                       query->fromClause == NIL && query->whereClause == nullptr &&
                       query->groupClause == NIL && query->havingClause == nullptr &&
                       query->windowClause == NIL && query->sortClause == NIL &&
                       query->limitOffset == nullptr && query->limitCount == nullptr &&
                       query->lockingClause == NIL && list_length(query->targetList) == 1;
    if (!plain) {
        return false;
    }
    const auto* target = static_cast<const ResTarget*>(linitial(query->targetList));
    return target->name == nullptr && !is_star(target->val);
}

// PL/pgSQL's grammar of an expression takes whatever may follow SELECT.
Node* parse(const char* text) {
    const List* statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
    const auto* query = reinterpret_cast<const SelectStmt*>(
        static_cast<const RawStmt*>(linitial(statements))->stmt);
    if (!is_one_expression(query)) {
        ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
                        errmsg("a context expression is one expression over the table's columns")));
    }
    return static_cast<const ResTarget*>(linitial(query->targetList))->val;
}

ParseState* state_over(Relation table, const char* text) {
    ParseState* state = make_parsestate(nullptr);
    state->p_sourcetext = text;
    ParseNamespaceItem* item =
        addRangeTableEntryForRelation(state, table, AccessShareLock, nullptr, false, true);
    addNSItemToQuery(state, item, false, true, true);
    return state;
}

void refuse_if(bool found, int sqlstate, const char* what) {
    if (found) {
        ereport(ERROR, (errcode(sqlstate), errmsg("a context expression has no %s", what)));
    }
}

Node* transform(ParseState* state, const char* text) {
    Node* node = transformExpr(state, parse(text), EXPR_KIND_OTHER);
    refuse_if(state->p_hasSubLinks, ERRCODE_FEATURE_NOT_SUPPORTED, "subqueries");
    refuse_if(state->p_hasAggs, ERRCODE_GROUPING_ERROR, "aggregate functions");
    refuse_if(state->p_hasWindowFuncs, ERRCODE_WINDOWING_ERROR, "window functions");
    refuse_if(expression_returns_set(node), ERRCODE_FEATURE_NOT_SUPPORTED, "functions of sets");
    Node* bytes = coerce_to_target_type(state, node, exprType(node), BYTEAOID, -1,
                                        COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
    if (bytes == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("a context expression gives bytea, and this one gives %s",
                               format_type_be(exprType(node)))));
    }
    assign_expr_collations(state, bytes);
    return bytes;
}

// With the arguments that functions have by default.
Node* planned(Node* node) {
    return reinterpret_cast<Node*>(expression_planner(static_cast<Expr*>(copyObjectImpl(node))));
}

// What a row's context is must not change by itself, nor when its value is sealed again.
void require_lasting(Node* node, AttrNumber attribute) {
    Bitmapset* columns = nullptr;
    pull_varattnos(node, 1, &columns);
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const int column = member + FirstLowInvalidHeapAttributeNumber;
        if (column <= 0 || column == attribute) {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("a context expression is over other columns than %s",
                                   column == attribute ? "the sealed one itself"
                                   : column == 0       ? "the whole row"
                                                       : "the system's")));
        }
    }
    refuse_if(contain_volatile_functions(node) || contain_volatile_functions(planned(node)),
              ERRCODE_INVALID_OBJECT_DEFINITION, "volatile functions");
}

const char* deparse(Relation table, Node* node) {
    const int level = fix_search_path();
    List* names = deparse_context_for(RelationGetRelationName(table), RelationGetRelid(table));
    const char* text = deparse_expression(node, names, false, false);
    AtEOXact_GUC(false, level);
    return text;
}

// What still has the name from before stands for the column.
Node* find_renamed(ParseState* state, ColumnRef* reference, Node* found) {
    const auto* renamed = static_cast<const RenamedColumn*>(state->p_ref_hook_state);
    const char* name = strVal(linitial(reference->fields));
    if (found != nullptr || list_length(reference->fields) != 1 ||
        strcmp(renamed->old_name, name) != 0) {
        return nullptr;
    }
    const FormData_pg_attribute& column =
        *TupleDescAttr(state->p_target_relation->rd_att, renamed->attribute - 1);
    return reinterpret_cast<Node*>(
        makeVar(1, renamed->attribute, column.atttypid, column.atttypmod, column.attcollation, 0));
}

}  // namespace

const char* checked_context(Relation table, AttrNumber attribute, const char* text) {
    return about_expression(text, [&] {
        Node* node = transform(state_over(table, text), text);
        require_lasting(node, attribute);
        return deparse(table, node);
    });
}

Expr* stored_context(Relation table, const char* text) {
    return about_expression(text, [&] {
        const int level = fix_search_path();
        Node* node = planned(transform(state_over(table, text), text));
        AtEOXact_GUC(false, level);
        return reinterpret_cast<Expr*>(node);
    });
}

const char* context_after_rename(Relation table, RenamedColumn renamed, const char* text) {
    return about_expression(text, [&] {
        ParseState* state = state_over(table, text);
        state->p_target_relation = table;
        state->p_post_columnref_hook = find_renamed;
        state->p_ref_hook_state = &renamed;
        return deparse(table, transform(state, text));
    });
}

}  // namespace kms::pg
