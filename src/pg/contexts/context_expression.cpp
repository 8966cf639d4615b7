#include "pg/contexts/context_expression.hpp"

#include "pg/contexts/context_names.hpp"
#include "pg/contexts/context_owners.hpp"
#include "pg/contexts/context_rules.hpp"
#include "pg/contexts/exact_names.hpp"
#include "pg/tables/owner.hpp"
#include "pg/values/text_settings.hpp"

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
    errcontext("registered expression \"%s\"", static_cast<const char*>(argument));
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

// Under which expressions are stored and read: literals in them are the same for all sessions.
// Until the level that is returned is given to AtEOXact_GUC(false, level).
int fix_expression_settings() {
    const int level = fix_text_settings();
    set_meanwhile("standard_conforming_strings", "on");
    set_meanwhile("transform_null_equals", "off");
    return level;
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
        ereport(ERROR, (errcode(sqlstate), errmsg("a registered expression has no %s", what)));
    }
}

// What an expression may give: the same in bytes, once it is stored.
enum class Gives { context, key };

bool is_text(Oid type) {
    char category = '\0';
    bool is_preferred = false;
    get_type_category_preferred(type, &category, &is_preferred);
    return category == TYPCATEGORY_STRING || category == TYPCATEGORY_UNKNOWN;
}

// In the database's own encoding, as a text is stored; nullptr: nothing makes a text of it unasked.
Node* as_stored_bytes(ParseState* state, Node* node) {
    Node* text = coerce_to_target_type(state, node, exprType(node), TEXTOID, -1, COERCION_IMPLICIT,
                                       COERCE_IMPLICIT_CAST, -1);
    if (text == nullptr) {
        return nullptr;
    }
    Expr* encoding = reinterpret_cast<Expr*>(makeFuncExpr(
        F_GETDATABASEENCODING, NAMEOID, NIL, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL));
    return reinterpret_cast<Node*>(makeFuncExpr(F_CONVERT_TO, BYTEAOID, list_make2(text, encoding),
                                                InvalidOid, DEFAULT_COLLATION_OID,
                                                COERCE_EXPLICIT_CALL));
}

Node* as_bytes(ParseState* state, Node* node, Gives gives) {
    const Oid type = exprType(node);
    const bool takes_text = gives == Gives::key;
    Node* bytes = takes_text && is_text(type)
                      ? as_stored_bytes(state, node)
                      : coerce_to_target_type(state, node, type, BYTEAOID, -1, COERCION_IMPLICIT,
                                              COERCE_IMPLICIT_CAST, -1);
    if (bytes == nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_DATATYPE_MISMATCH),
                 errmsg("a %s gives %s, and this one gives %s",
                        takes_text ? "key expression" : "context expression",
                        takes_text ? "text or bytea" : "bytea", format_type_be(type)),
                 errhint("%s", takes_text ? "Write (...)::text around it." : how_to_make_bytes)));
    }
    return bytes;
}

bool has_subquery(Node* raw, void* context) {
    return raw != nullptr && (IsA(raw, SubLink) || walk_raw(raw, has_subquery, context));
}

// A subquery is refused before it is read: it names its columns by the types that are cast to,
// whose names are gone from the tree once they have been looked up.
Node* transform(Relation table, const char* text, Gives gives = Gives::context) {
    const Oid owner = table->rd_rel->relowner;
    Node* raw = raw_context(text);
    refuse_if(has_subquery(raw, nullptr), ERRCODE_FEATURE_NOT_SUPPORTED, "subqueries");
    require_owned_types(raw, owner);
    ParseState* state = state_over(table, text);
    Node* node = transformExpr(state, raw, EXPR_KIND_OTHER);
    refuse_if(state->p_hasAggs, ERRCODE_GROUPING_ERROR, "aggregate functions");
    refuse_if(state->p_hasWindowFuncs, ERRCODE_WINDOWING_ERROR, "window functions");
    refuse_if(expression_returns_set(node), ERRCODE_FEATURE_NOT_SUPPORTED, "functions of sets");
    Node* bytes = as_bytes(state, node, gives);
    assign_expr_collations(state, bytes);
    require_owned_code(bytes, owner);
    return bytes;
}

// With the arguments that functions have by default.
Node* planned(Node* node) {
    return reinterpret_cast<Node*>(expression_planner(static_cast<Expr*>(copyObjectImpl(node))));
}

void require_not_volatile(Node* node, Node* plan) {
    refuse_if(contain_volatile_functions(node) || contain_volatile_functions(plan),
              ERRCODE_INVALID_OBJECT_DEFINITION, "volatile functions");
}

// What a row's context is must not change by itself, nor when its value is sealed again.
void require_lasting(Node* node, AttrNumber attribute, Gives gives) {
    require_other_columns(node, attribute);
    Node* plan = planned(node);
    require_not_volatile(node, plan);
    require_usable_constant(plan, gives == Gives::key ? check_identifier : check_context);
}

bool has_generated_column(Relation table) {
    const TupleDesc shape = RelationGetDescr(table);
    for (int i = 0; i < shape->natts; ++i) {
        if (TupleDescAttr(shape, i)->attgenerated != '\0') {
            return true;
        }
    }
    return false;
}

// With the casts that nobody has written: read again, each function is found by the types it has.
const char* deparse(Relation table, Node* node) {
    const int level = fix_expression_settings();
    List* names = deparse_context_for(RelationGetRelationName(table), RelationGetRelid(table));
    const char* text = deparse_expression(node, names, false, true);
    AtEOXact_GUC(false, level);
    return text;
}

constexpr const char* how_to_compare =
    "It is read with search_path = pg_catalog, pg_temp: compare with OPERATOR(schema.=), in a CASE "
    "WHEN say, or put it into a function that names things with their schemas.";

// With the fixed search_path.
void refuse_what_is_not_found(void* /*argument*/) {
    const int code = geterrcode();
    if (code == ERRCODE_UNDEFINED_FUNCTION || code == ERRCODE_AMBIGUOUS_FUNCTION ||
        code == ERRCODE_UNDEFINED_OBJECT) {
        errcode(ERRCODE_FEATURE_NOT_SUPPORTED);
        errhint("%s", how_to_compare);
    }
}

Node* read_again(Relation table, const char* stored) {
    ErrorContextCallback callback = {error_context_stack, refuse_what_is_not_found, nullptr};
    error_context_stack = &callback;
    Node* node = about_expression(stored, [&] {
        const int level = fix_expression_settings();
        Node* again = transform(table, stored);
        AtEOXact_GUC(false, level);
        return again;
    });
    error_context_stack = callback.previous;
    return node;
}

// A cast of an array may have become casts of its elements.
bool is_same(Node* node, Node* again) {
    return equal(node, again) || equal(planned(node), planned(again));
}

// As text, CASE x WHEN, NULLIF, IS DISTINCT FROM and the like do not say the schema of the operator
// that they compare with.
void require_same_when_read(Relation table, Node* node, const char* stored) {
    if (!is_same(node, read_again(table, stored))) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a registered expression would mean something else as it is stored"),
                        errdetail("It would be stored as \"%s\", which compares with other "
                                  "operators.",
                                  stored),
                        errhint("%s", how_to_compare)));
    }
}

// Planning runs functions of the table's owner, whoever registers.
const char* checked(Relation table, AttrNumber attribute, const char* text, Gives gives) {
    return about_expression(text, [&] {
        const char* stored = nullptr;
        run_owners_code(
            table->rd_rel->relowner,
            [&] {
                Node* node = transform(table, text, gives);
                require_exact_names(node);
                require_lasting(node, attribute, gives);
                require_exact_names(node);  // which planning has run users' code
                require_few_columns(node);
                require_stored_columns(table, node);
                require_small_types(table, node);
                require_distinct_bytes(node);
                stored = deparse(table, node);
                require_short(stored);
                require_same_when_read(table, node, stored);
            },
            SearchPath::callers);
        return stored;
    });
}

}  // namespace

const char* checked_context(Relation table, AttrNumber attribute, const char* text) {
    return checked(table, attribute, text, Gives::context);
}

const char* checked_key(Relation table, AttrNumber attribute, const char* text) {
    return checked(table, attribute, text, Gives::key);
}

Bitmapset* columns_of_context(Relation table, const char* stored) {
    return stored != nullptr ? columns_in(reinterpret_cast<Node*>(stored_context(table, stored)))
                             : nullptr;
}

void require_at_hand(Relation table, const char* stored) {
    if (!has_generated_column(table)) {
        return;
    }
    const Bitmapset* columns = columns_of_context(table, stored);
    for_each_column(table, columns, [](const FormData_pg_attribute& column) {
        if (column.attgenerated != '\0') {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("the registered expression is over the generated column \"%s\"",
                                   NameStr(column.attname)),
                            errdetail("What is generated comes behind a row's triggers, one of "
                                      "which keeps the two columns in step."),
                            errhint("Take the columns that it is generated from. A context, where "
                                    "all rows have one key, may be moved to it once the switch is "
                                    "done: kms.reencrypt() with new_context.")));
        }
    });
}

Expr* stored_context(Relation table, const char* text) {
    return about_expression(text, [&] {
        const int level = fix_expression_settings();
        Node* node = transform(table, text);
        require_other_columns(node, InvalidAttrNumber);
        require_exact_names(node);
        Node* plan = planned(node);
        require_not_volatile(node, plan);
        AtEOXact_GUC(false, level);
        return reinterpret_cast<Expr*>(plan);
    });
}

}  // namespace kms::pg
