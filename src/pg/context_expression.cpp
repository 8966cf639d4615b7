#include "pg/context_expression.hpp"

#include "pg/args.hpp"
#include "pg/context_names.hpp"
#include "pg/context_owners.hpp"
#include "pg/context_type.hpp"
#include "pg/exact_names.hpp"
#include "pg/owner.hpp"
#include "pg/text_settings.hpp"

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
        ereport(ERROR, (errcode(sqlstate), errmsg("a context expression has no %s", what)));
    }
}

constexpr const char* how_to_make_bytes = "Write convert_to(…, 'UTF8') around a text.";

bool has_subquery(Node* raw, void* context) {
    return raw != nullptr && (IsA(raw, SubLink) || walk_raw(raw, has_subquery, context));
}

// A subquery is refused before it is read: it names its columns by the types that are cast to,
// whose names are gone from the tree once they have been looked up.
Node* transform(Relation table, const char* text) {
    const Oid owner = table->rd_rel->relowner;
    Node* raw = raw_context(text);
    refuse_if(has_subquery(raw, nullptr), ERRCODE_FEATURE_NOT_SUPPORTED, "subqueries");
    require_owned_types(raw, owner);
    ParseState* state = state_over(table, text);
    Node* node = transformExpr(state, raw, EXPR_KIND_OTHER);
    refuse_if(state->p_hasAggs, ERRCODE_GROUPING_ERROR, "aggregate functions");
    refuse_if(state->p_hasWindowFuncs, ERRCODE_WINDOWING_ERROR, "window functions");
    refuse_if(expression_returns_set(node), ERRCODE_FEATURE_NOT_SUPPORTED, "functions of sets");
    Node* bytes = coerce_to_target_type(state, node, exprType(node), BYTEAOID, -1,
                                        COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
    if (bytes == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("a context expression gives bytea, and this one gives %s",
                               format_type_be(exprType(node))),
                        errhint("%s", how_to_make_bytes)));
    }
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

// InvalidAttrNumber: whichever is the sealed one.
void require_other_columns(Node* node, AttrNumber attribute) {
    Bitmapset* columns = nullptr;
    pull_varattnos(node, 1, &columns);
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const int column = member + FirstLowInvalidHeapAttributeNumber;
        if (column <= 0 || column == attribute) {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("a context expression is over other columns than %s",
                                   column < 0    ? "the system's"
                                   : column == 0 ? "the whole row"
                                                 : "the sealed one itself")));
        }
    }
}

// Whether the text of all its values is free of backslashes.
bool has_plain_text(Oid type) {
    switch (getBaseType(type)) {
        case BOOLOID:
        case INT2OID:
        case INT4OID:
        case INT8OID:
        case NUMERICOID:
        case OIDOID:
        case UUIDOID:
            return true;
        default:
            return false;
    }
}

// A constant is one value; what is cast to text may be of a type that has no backslash.
bool is_plain_text(Node* node) {
    if (IsA(node, RelabelType)) {
        return is_plain_text(reinterpret_cast<Node*>(reinterpret_cast<RelabelType*>(node)->arg));
    }
    if (IsA(node, CoerceViaIO)) {
        const auto* cast = reinterpret_cast<CoerceViaIO*>(node);
        return has_plain_text(exprType(reinterpret_cast<Node*>(cast->arg)));
    }
    if (IsA(node, FuncExpr)) {
        const auto* cast = reinterpret_cast<FuncExpr*>(node);
        return cast->funcformat == COERCE_EXPLICIT_CAST &&
               has_plain_text(exprType(static_cast<Node*>(linitial(cast->args))));
    }
    return IsA(node, Const);
}

// bytea's input takes a backslash for the beginning of another byte: different texts, one context.
bool reads_escapes(Node* node, void* context) {
    if (node == nullptr) {
        return false;
    }
    if (IsA(node, CoerceViaIO)) {
        const auto* cast = reinterpret_cast<CoerceViaIO*>(node);
        if (is_made_of(cast->resulttype, BYTEAOID) &&
            !is_plain_text(reinterpret_cast<Node*>(cast->arg))) {
            return true;
        }
    }
    return walk_expression(node, reads_escapes, context);
}

void require_distinct_bytes(Node* node) {
    if (reads_escapes(node, nullptr)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a context expression casts no text to bytea"),
                        errdetail("The cast reads a backslash as the beginning of another byte: "
                                  "different texts would give one context."),
                        errhint("%s", how_to_make_bytes)));
    }
}

// What is the same for all rows may be of no use for any.
void require_usable_constant(Node* plan) {
    if (!IsA(plan, Const)) {
        return;
    }
    const auto* constant = reinterpret_cast<Const*>(plan);
    if (constant->constisnull) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                        errmsg("a context expression is NULL for no row, and this one for all"),
                        errhint("Leave it out for the empty context.")));
    }
    check_context(bytes_of_datum(constant->constvalue));
}

// What a row's context is must not change by itself, nor when its value is sealed again.
void require_lasting(Node* node, AttrNumber attribute) {
    require_other_columns(node, attribute);
    Node* plan = planned(node);
    require_not_volatile(node, plan);
    require_usable_constant(plan);
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

// After some commands of anybody's all stored expressions are read.
void require_short(const char* stored) {
    constexpr std::size_t most_bytes = 8192;
    if (strlen(stored) > most_bytes) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("a context expression has at most %zu bytes, and this one has %zu",
                               most_bytes, strlen(stored)),
                        errhint("Put what it does into a function.")));
    }
}

// After every command that changes a definition their names and types are compared.
void require_few_columns(Node* node) {
    constexpr int most_columns = 32;
    Bitmapset* columns = nullptr;
    pull_varattnos(node, 1, &columns);
    if (bms_num_members(columns) > most_columns) {
        ereport(ERROR, (errcode(ERRCODE_TOO_MANY_COLUMNS),
                        errmsg("a context expression uses at most %d columns, and this one %d",
                               most_columns, bms_num_members(columns))));
    }
}

// The same of what they are made of.
void require_small_types(Relation table, Node* node) {
    TypeBound bound;
    Bitmapset* columns = nullptr;
    pull_varattnos(node, 1, &columns);
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const auto* column =
            TupleDescAttr(RelationGetDescr(table), member + FirstLowInvalidHeapAttributeNumber - 1);
        (void)types_in(column->atttypid, bound);
        if (bound.is_reached()) {
            ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                            errmsg("the columns that a context expression uses are made of a "
                                   "hundred types, or attributes, or more"),
                            errdetail("Column \"%s\" of type %s is the one too many.",
                                      NameStr(column->attname), format_type_be(column->atttypid)),
                            errhint("Use fewer columns, or put the parts that matter into columns "
                                    "of their own.")));
        }
    }
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
                        errmsg("a context expression would mean something else as it is stored"),
                        errdetail("It would be stored as \"%s\", which compares with other "
                                  "operators.",
                                  stored),
                        errhint("%s", how_to_compare)));
    }
}

}  // namespace

// Planning runs functions of the table's owner, whoever registers.
const char* checked_context(Relation table, AttrNumber attribute, const char* text) {
    return about_expression(text, [&] {
        const char* stored = nullptr;
        run_owners_code(
            table->rd_rel->relowner,
            [&] {
                Node* node = transform(table, text);
                require_exact_names(node);
                require_lasting(node, attribute);
                require_exact_names(node);  // which planning has run users' code
                require_few_columns(node);
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

Bitmapset* columns_of_context(Relation table, const char* stored) {
    Bitmapset* columns = nullptr;
    if (stored != nullptr) {
        pull_varattnos(reinterpret_cast<Node*>(stored_context(table, stored)), 1, &columns);
    }
    return columns;
}

void require_at_hand(Relation table, const char* stored) {
    if (!has_generated_column(table)) {
        return;
    }
    const Bitmapset* columns = columns_of_context(table, stored);
    for (int member = bms_next_member(columns, -1); member >= 0;
         member = bms_next_member(columns, member)) {
        const auto* column =
            TupleDescAttr(RelationGetDescr(table), member + FirstLowInvalidHeapAttributeNumber - 1);
        if (column->attgenerated != '\0') {
            ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                            errmsg("the context expression is over the generated column \"%s\"",
                                   NameStr(column->attname)),
                            errdetail("What is generated comes behind a row's triggers, one of "
                                      "which keeps the two columns in step."),
                            errhint("Take the columns that it is generated from: what is "
                                    "registered goes there by kms.reencrypt() with new_context.")));
        }
    }
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
